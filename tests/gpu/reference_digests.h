// What a receipt's exact digests must be, computed on the CPU: so that CI can check receipts without a GPU.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/op_case.h"

namespace octavo::gpu {

// Receipts hold, and CI compares, the digests of exact cases whose arguments have at most so many elements: their
// references take seconds.
inline constexpr int64_t kDigestElements = 20'000;

// {"table", "cases", "digests": {"<case>": {"<output>": "<fnv1a64>"}}}: of every output judged exact, of the cases whose
// largest argument has at most `most_elements` elements.
nlohmann::json reference_digests(const std::vector<harness::OpCase>& cases, int64_t most_elements);

int64_t most_elements_of(const harness::OpCase& c);  // elements of its largest argument

}  // namespace octavo::gpu
