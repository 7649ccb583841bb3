// What a verification writes down: measurements and digests, not verdicts (design 6).
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gpu/device_case.h"
#include "harness/op_case.h"

namespace octavo::gpu {

inline constexpr int kReceiptSchema = 1;
// Raise when the harness measures or judges differently: receipts made before are then stale.
inline constexpr int kHarnessVersion = 1;

struct Verified {
  harness::CaseResult result;  // problem is empty when all held
  int64_t repeats = 0;
};

// Digest of names, arguments, dtypes, shapes, pitches and judges: changes when the table does.
std::string case_table_digest(const std::vector<harness::OpCase>& cases);

// {"schema", "op", "gpu", "driver", "cuda", "key", "counts", "repeats", "floats", "codes", "exact"}; rows are arrays, so
// that 600 cases stay below 150 KB. `keys` is what tools/receipts.py wrote for the build: {"<op>": {"sass": ..}}.
nlohmann::json make_receipt(const std::string& op, const std::vector<harness::OpCase>& cases,
                            const std::vector<Verified>& verified, const nlohmann::json& keys);

}  // namespace octavo::gpu
