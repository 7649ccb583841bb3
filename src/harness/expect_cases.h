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

// The cases that a CPU test has time for: the large ones are for benches and GPUs.
inline std::vector<OpCase> small_cases(std::vector<OpCase> cases, int64_t most_elements = 1 << 22) {
  std::erase_if(cases, [=](const OpCase& c) {
    int64_t elements = 0;
    for (const auto& arg : c.args) {
      int64_t n = 1;
      for (const int64_t d : arg.shape) n *= d;
      elements += n;
    }
    return elements > most_elements;
  });
  return cases;
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
