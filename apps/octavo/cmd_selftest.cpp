// octavo selftest: every kernel that this CPU can run against the reference, on the cases that the tests use.
#include <fmt/format.h>

#include <chrono>

#include "command.h"
#include "core/thread_pool.h"
#include "harness/op_case.h"
#include "ops/attention_f/attention_f_cases.h"
#include "ops/embedding/embedding_cases.h"
#include "ops/gemm_f/gemm_f_cases.h"
#include "ops/gemm_w8a16/gemm_w8a16_cases.h"
#include "ops/gemm_w8a8/gemm_w8a8_cases.h"
#include "ops/kv_append/kv_append_cases.h"
#include "ops/quantize_rows/quantize_rows_cases.h"
#include "ops/rms_norm/rms_norm_cases.h"
#include "ops/rope/rope_cases.h"
#include "ops/sample/sample_cases.h"
#include "ops/silu_mul/silu_mul_cases.h"
#include "terminal.h"

namespace octavo::app {
namespace {

struct OpCases {
  const char* op;
  std::vector<harness::OpCase> (*cases)();
};

constexpr OpCases kOps[] = {
    {"attention_f", attention_f_cases},
    {"embedding", embedding_cases},
    {"gemm_f", gemm_f_cases},
    {"gemm_w8a16", gemm_w8a16_cases},
    {"gemm_w8a8", gemm_w8a8_cases},
    {"kv_append", kv_append_cases},
    {"quantize_rows", quantize_rows_cases},
    {"rms_norm", rms_norm_cases},
    {"rope", rope_cases},
    {"sample", sample_cases},
    {"silu_mul", silu_mul_cases},
};

int run() {
  ThreadPool pool(cpu_facts().cores);
  int64_t failed = 0, passed = 0;
  for (Isa isa : kAllIsas) {
    if (!cpu_has(isa)) {
      fmt::print("{}: this CPU lacks it, skipped\n", name_of(isa));
      continue;
    }
    fmt::print("{}:\n", name_of(isa));
    for (const OpCases& op : kOps) {
      Context ctx;
      ctx.isa = isa, ctx.pool = &pool;
      const auto start = std::chrono::steady_clock::now();
      int64_t here = 0;
      for (const auto& c : harness::small_cases(op.cases())) {
        if (interrupted()) throw Error(ErrorKind::interrupted, "interrupted");
        const harness::CaseResult result = harness::run_case(ctx, c);
        ++here;
        result.problem.empty() ? ++passed : ++failed;
        if (!result.problem.empty())
          fmt::print("  {}: FAILED {} ({}): {}\n", op.op, c.name, c.why, result.problem);
      }
      fmt::print("  {:<16}{:>6} cases{:>8.2f} s\n", op.op, here,
                 std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
  }
  fmt::print("{} passed, {} failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : static_cast<int>(ErrorKind::runtime);
}

}  // namespace

std::function<int()> setup_selftest(Arguments&) {
  return [] { return run(); };
}

}  // namespace octavo::app
