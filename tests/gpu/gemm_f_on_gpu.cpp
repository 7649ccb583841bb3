#include "gpu/gemm_f_on_gpu.h"

#include <fmt/format.h>

#include "cuda/device.h"
#include "ops/gemm_f/gemm_f_cases.h"
#include "ops/gemm_f/gemm_f_cuda.h"

namespace octavo::gpu {
namespace {

using harness::OpCase;

GemmFArgs args_of(const OpCase& c, harness::CaseTensors t) {
  const bool bias = c.args.size() > 3;
  return {.x = t[0], .w = t[1], .bias = bias ? t[3] : Tensor(), .y = t[2]};
}

// Tensor cores cut off bits of their fp32 sums, which a 16-bit output does not show (gemm_f.md).
OpCase with_tensor_core_slack(OpCase c) {
  if (c.args[0].dtype != DType::f32 && c.args[2].dtype == DType::f32) c.args[2].relative_slack = 0x1p-20;
  return c;
}

OpCase with_workspace(OpCase c) {
  c = with_tensor_core_slack(std::move(c));
  c.call = [c](const Context& ctx, harness::CaseTensors t) {
    const GemmFArgs a = args_of(c, t);
    const cuda::DeviceBuffer buffer(gemm_f_workspace_bytes(ctx, a));
    Context with = ctx;
    if (buffer.bytes() > 0)
      with.workspace = Tensor(buffer.data(), DType::u8, {buffer.bytes()}, Backend::cuda);
    gemm_f(with, a);
  };
  return c;
}

OpCase on_any_kernel(OpCase c) {
  c.name += "/any";
  c.call = [c](const Context& ctx, harness::CaseTensors t) { gemm_f_any(ctx, args_of(c, t)); };
  return c;
}

}  // namespace

std::vector<OpCase> gemm_f_on_gpu() {
  std::vector<OpCase> cases;
  for (auto& c : gemm_f_cases()) cases.push_back(with_workspace(std::move(c)));
  for (const DType type : {DType::f32, DType::f16, DType::bf16})
    for (const bool bias : {false, true})
      for (const DType y : {type, DType::f32})
        for (const int64_t m : {1, 7, 64, 130}) {
          const GemmFShape s{.m = m, .n = 264, .k = 512, .x = type, .w = type, .y = y, .bias = bias};
          if (y != type || type == DType::f32 || m != 64)
            cases.push_back(with_workspace(gemm_f_case(s, "one type, wide enough for every algorithm")));
          cases.push_back(on_any_kernel(gemm_f_case(s, "the simple kernel beside cuBLASLt")));
          if (type == DType::f32) break;
        }
  cases.push_back(
      gemm_f_case({.m = 33, .n = 72, .k = 4096, .x = DType::f16, .w = DType::f16, .y = DType::f16},
                  "no workspace: no split of K"));
  return cases;
}

}  // namespace octavo::gpu
