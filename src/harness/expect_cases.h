// GoogleTest glue for cases; apart from op_case.h so that programs without GoogleTest can run cases too.
#pragma once
#include <gtest/gtest.h>

#include <vector>

#include "core/thread_pool.h"
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

// One call on 1, 2, 3 and 7 threads: every output has the same bits.
inline void expect_same_bits_on_all_thread_counts(Isa isa, const OpCase& c) {
  Context ctx;
  ctx.isa = isa;
  std::vector<HostTensor> first;
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    ctx.pool = &pool;
    std::vector<HostTensor> args = make_args(c);
    std::vector<Tensor> views;
    for (const auto& a : args) views.push_back(a.view());
    c.call(ctx, views);
    if (first.empty())
      first = std::move(args);
    else
      for (size_t i = 0; i < args.size(); ++i)
        EXPECT_EQ(args[i].bytes(), first[i].bytes())
            << c.name << ": " << c.args[i].name << " on " << threads << " threads";
  }
}

}  // namespace octavo::harness
