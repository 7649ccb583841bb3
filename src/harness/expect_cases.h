// GoogleTest glue for cases; apart from op_case.h so that programs without GoogleTest can run cases too.
#pragma once
#include <gtest/gtest.h>

#include "harness/op_case.h"

namespace octavo::harness {

// Runs all cases on ctx: a failure for each problem. Zero cases is a failure too.
inline void expect_cases(const Context& ctx, const std::vector<OpCase>& cases) {
  if (cases.empty()) ADD_FAILURE() << "no cases";
  for (const auto& c : cases) {
    const CaseResult result = run_case(ctx, c);
    if (!result.problem.empty()) ADD_FAILURE() << c.name << " (" << c.why << "): " << result.problem;
  }
}

}  // namespace octavo::harness
