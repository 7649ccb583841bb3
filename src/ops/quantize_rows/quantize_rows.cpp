#include "ops/quantize_rows/quantize_rows.h"

#include <fmt/format.h>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"
#include "ops/quantize_rows/quantize_rows_ref.h"
#include "ops/quantize_rows/quantize_rows_simd.h"
#if defined(OCTAVO_CUDA)
#include "ops/quantize_rows/quantize_rows_cuda.h"
#endif

namespace octavo {
namespace {

constexpr const char* kOp = "quantize_rows";
constexpr int64_t kElementsPerTask = 8192;             // fewer cost more to hand to a thread than to compute
constexpr int64_t kMaxSummedWidth = 2147483647 / 127;  // the sum of more codes could leave s32

void validate(const Context& ctx, const QuantizeRowsArgs& a) {
  expect_tensor(kOp, "x", a.x, ctx.backend, {DType::f32, DType::f16, DType::bf16}, {-1, -1});
  const int64_t rows = a.x.dim(0), width = a.x.dim(1);
  expect_tensor(kOp, "codes", a.codes, ctx.backend, {DType::i8}, {rows, width});
  expect_tensor(kOp, "scale", a.scale, ctx.backend, {DType::f32}, {rows});
  if (a.padded_width != 0 && a.padded_width < width)
    fail_argument(kOp, "padded_width",
                  fmt::format("is {}, below the width {}; use 0 for no padding", a.padded_width, width));
  if (rows > 0 && a.padded_width > width && a.codes.stride(0) < a.padded_width)
    fail_argument(
        kOp, "codes",
        fmt::format("has a row pitch of {}, below padded_width {}", a.codes.stride(0), a.padded_width));
  if (rows > 0 && a.padded_width > 0 && !a.codes.data())
    fail_argument(kOp, "codes", fmt::format("is null with padded_width {}", a.padded_width));
  if (!a.code_sum) return;
  expect_tensor(kOp, "code_sum", a.code_sum, ctx.backend, {DType::i32}, {rows});
  if (width > kMaxSummedWidth)
    fail_argument(kOp, "code_sum",
                  fmt::format("of width {} could overflow; the largest is {}", width, kMaxSummedWidth));
}

void run_reference(const Context&, const QuantizeRowsArgs& args) { quantize_rows_ref<double>(args); }

#if defined(__x86_64__)
template <void (*kernel)(const QuantizeRow&)>
void run_rows(const Context& ctx, const QuantizeRowsArgs& a) {
  const int64_t grain = 1 + kElementsPerTask / (a.x.dim(1) + 1);
  parallel_for(ctx.pool, a.x.dim(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      kernel({.x = static_cast<const uint8_t*>(a.x.data()) + r * a.x.stride(0) * size_of(a.x.dtype()),
              .dtype = a.x.dtype(),
              .codes = a.codes.as<int8_t>() + r * a.codes.stride(0),
              .scale = a.scale.as<float>() + r,
              .code_sum = a.code_sum ? a.code_sum.as<int32_t>() + r : nullptr,
              .width = a.x.dim(1),
              .padded_width = a.padded_width});
  });
}
#endif

constexpr auto kVariants = std::to_array<Variant<QuantizeRowsArgs>>({
#if defined(OCTAVO_CUDA)
  {"cuda_registers",
   Backend::cuda,
   Isa::reference,
   quantize_rows_fits_registers,
   "aligned rows of 8n elements; sm_90 up to 131,072, else 32,768 (f32 half)",
   quantize_rows_registers},
      {"cuda_loop", Backend::cuda, Isa::reference, nullptr, "always", quantize_rows_loop},
#endif
#if defined(__x86_64__)
      {"avx512", Backend::cpu, Isa::avx512, nullptr, "always", run_rows<avx512::quantize_row>},
      {"avx2", Backend::cpu, Isa::avx2, nullptr, "always", run_rows<avx2::quantize_row>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

}  // namespace

void quantize_rows(const Context& ctx, const QuantizeRowsArgs& args) {
  validate(ctx, args);
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo quantize_rows_variant(const Context& ctx, const QuantizeRowsArgs& args) {
  validate(ctx, args);
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
