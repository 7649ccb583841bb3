#include "ops/gemm_w8a8/gemm_w8a8.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/element.h"
#include "core/thread_pool.h"
#include "ops/bias_gelu/bias_gelu.h"
#include "ops/gemm_w8a8/gemm_w8a8_ref.h"
#include "ops/gemm_w8a8/gemm_w8a8_simd.h"
#include "ops/silu_mul/silu_mul.h"
#if defined(OCTAVO_CUDA)
#include "ops/gemm_w8a8/gemm_w8a8_cuda.h"
#endif

namespace octavo {
namespace {

constexpr auto kOp = "gemm_w8a8";

// Which arguments go together.
void validate_policy(const GemmW8A8Args& a) {
  const auto refuse = [](const char* name, bool given, const char* why) {
    if (given) fail_argument(kOp, name, std::string("is given, but ") + why);
  };
  const bool activates = a.activation != GemmActivation::none;
  const char* sums = "y is i32, which holds unscaled sums";
  if (a.y.dtype() == DType::i32) {
    refuse("x_scale", bool(a.x_scale), sums), refuse("w_scale", bool(a.w_scale), sums);
    refuse("bias", bool(a.bias), sums), refuse("residual", bool(a.residual), sums);
    refuse("activation", activates, sums);
  }
  if (a.y.dtype() == DType::i8) {
    refuse("residual", bool(a.residual), "y is i8; give y of 16 or 32 bits");
    refuse("activation", activates, "y is i8; give y of 16 or 32 bits");
  } else {
    refuse("y_scale", bool(a.y_scale), "y is not i8");
  }
  refuse("y_amax", a.y_amax && size_of(a.y.dtype()) != 2, "y is neither f16 nor bf16");
  refuse("residual", a.residual && activates, "there is an activation; add it afterwards");
}

void validate(const Context& ctx, const GemmW8A8Args& a) {
  const auto expect = [&](const char* name, const ConstTensor& t, std::initializer_list<DType> dtypes,
                          std::initializer_list<int64_t> shape) {
    expect_tensor(kOp, name, t, ctx.backend, dtypes, shape);
  };
  expect("x", a.x, {DType::i8}, {-1, -1});
  const int64_t m = a.x.dim(0), k = a.x.dim(1);
  if (k > kMaxInt8K)
    fail_argument(
        kOp, "x",
        fmt::format("is {}: K = {} is above {}, the most that s32 sums of INT8 products hold; split K",
                    a.x.describe(), k, kMaxInt8K));
  expect("w", a.w, {DType::i8}, {-1, k});
  const int64_t n = a.w.dim(0);
  const bool pairs = a.activation == GemmActivation::silu_mul;
  if (pairs && n % 2)
    fail_argument(
        kOp, "w",
        fmt::format("is {}: silu_mul needs gate and up in turn, an even number of rows", a.w.describe()));
  expect("y", a.y, {DType::f32, DType::f16, DType::bf16, DType::i8, DType::i32}, {m, pairs ? n / 2 : n});
  if (a.w_code_sum) expect("w_code_sum", a.w_code_sum, {DType::i32}, {n});
  validate_policy(a);
  if (a.y.dtype() == DType::i32) return;
  expect("x_scale", a.x_scale, {DType::f32}, {m});
  expect("w_scale", a.w_scale, {DType::f32}, {n});
  if (a.bias) expect("bias", a.bias, {DType::f32}, {n});
  if (a.residual) expect("residual", a.residual, {a.y.dtype()}, {m, n});
  if (a.y.dtype() == DType::i8) expect("y_scale", a.y_scale, {DType::f32}, {1});
  if (a.y_amax) expect("y_amax", a.y_amax, {DType::f32}, {m});
}

// body(n_begin, n_end) over the columns of y, in multiples of kInt8TaskCols: whole tiles for every thread.
template <class Body>
void for_columns(const Context& ctx, const GemmW8A8Args& a, Body&& body) {
  const int64_t n = a.w.dim(0);
  parallel_for(ctx.pool, (n + kInt8TaskCols - 1) / kInt8TaskCols, 1, [&](int64_t begin, int64_t end) {
    body(begin * kInt8TaskCols, std::min(end * kInt8TaskCols, n));
  });
}

void run_reference(const Context& ctx, const GemmW8A8Args& args) {
  for_columns(ctx, args, [&](int64_t begin, int64_t end) { gemm_w8a8_ref<double>(args, begin, end); });
}

#if defined(__x86_64__)
using Columns = void (*)(const Int8Gemm&, int64_t, int64_t);

// The product alone, of the rows [m_begin, m_begin + rows).
Int8Gemm product_of(const GemmW8A8Args& a, int64_t m_begin, int64_t rows) {
  const auto floats = [](const ConstTensor& t) { return t ? t.as<float>() : nullptr; };
  return {.x = a.x.as<int8_t>() + m_begin * a.x.stride(0),
          .x_stride = a.x.stride(0),
          .w = a.w.as<int8_t>(),
          .w_stride = a.w.stride(0),
          .x_scale = a.x_scale ? a.x_scale.as<float>() + m_begin : nullptr,
          .w_scale = floats(a.w_scale),
          .w_code_sum = a.w_code_sum ? a.w_code_sum.as<int32_t>() : nullptr,
          .bias = floats(a.bias),
          .y = nullptr,
          .y_acc = nullptr,
          .y_stride = a.y.stride(0),
          .m = rows,
          .k = a.x.dim(1)};
}

template <Columns kColumns>
void run_simd(const Context& ctx, const GemmW8A8Args& a) {
  Int8Gemm g = product_of(a, 0, a.x.dim(0));
  if (a.y.dtype() == DType::f32)
    g.y = a.y.as<float>();
  else
    g.y_acc = a.y.as<int32_t>();
  for_columns(ctx, a, [&](int64_t begin, int64_t end) { kColumns(g, begin, end); });
}

bool is_wide(const GemmW8A8Args& a, const DeviceFacts&) {
  return (a.y.dtype() == DType::f32 || a.y.dtype() == DType::i32) && !a.residual &&
         a.activation == GemmActivation::none;
}

constexpr int64_t kBlockRows = 96;

// v, a block of rows x columns [begin, end) of the product in f32, to y: by the plain ops, element by element.
void finish_block(const Context& serial, const GemmW8A8Args& a, float* v, int64_t m_begin, int64_t rows,
                  int64_t begin, int64_t end) {
  int64_t columns = end - begin;
  const Tensor block(v, DType::f32, {rows, columns}, {kInt8TaskCols, 1});
  if (a.activation == GemmActivation::silu_mul) {
    columns /= 2, begin /= 2;
    const auto every_second = [&](float* first) {
      return Tensor(first, DType::f32, {rows, columns}, {kInt8TaskCols, 2});
    };
    silu_mul(serial, {.gate = every_second(v),
                      .up = every_second(v + 1),
                      .out = every_second(v),
                      .out_codes = {},
                      .out_scale = {}});
  } else if (a.activation != GemmActivation::none) {
    bias_gelu(serial, {.x = block,
                       .bias = {},
                       .form = a.activation == GemmActivation::gelu_tanh ? GeluForm::tanh : GeluForm::erf,
                       .out = block,
                       .out_codes = {},
                       .out_scale = {}});
  }
  const int64_t step = a.activation == GemmActivation::silu_mul ? 2 : 1;
  const float inverse = a.y.dtype() == DType::i8 ? 1.0f / load_at<float>(a.y_scale, 0) : 0.0f;
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t n = 0; n < columns; ++n) {
      float value = v[m * kInt8TaskCols + n * step];
      if (a.residual) value += load_at<float>(a.residual, m_begin + m, begin + n);
      if (a.y.dtype() == DType::i8)
        a.y.as<int8_t>()[(m_begin + m) * a.y.stride(0) + begin + n] = gemm_w8a8_code(value, inverse);
      else
        store_at(a.y, value, m_begin + m, begin + n);
    }
}

// Blocks of kBlockRows x kInt8TaskCols; a task may have more columns than that.
template <Columns kColumns>
void run_composed(const Context& ctx, const GemmW8A8Args& a) {
  Context serial = ctx;
  serial.pool = nullptr;
  for_columns(ctx, a, [&](int64_t task_begin, int64_t task_end) {
    float v[kBlockRows * kInt8TaskCols];
    for (int64_t begin = task_begin; begin < task_end; begin += kInt8TaskCols) {
      const int64_t end = std::min(begin + kInt8TaskCols, task_end);
      for (int64_t m = 0; m < a.x.dim(0); m += kBlockRows) {
        const int64_t rows = std::min(kBlockRows, a.x.dim(0) - m);
        Int8Gemm g = product_of(a, m, rows);
        g.y = v - begin, g.y_stride = kInt8TaskCols;
        kColumns(g, begin, end);
        finish_block(serial, a, v, m, rows, begin, end);
      }
    }
  });
}
#endif

constexpr auto kVariants = std::to_array<Variant<GemmW8A8Args>>({
#if defined(OCTAVO_CUDA)
  {"cuda_sm90",   Backend::cuda, Isa::reference, gemm_w8a8_fits_sm90, "sm_90, rows of x and w on 16 bytes",
   gemm_w8a8_sm90},
      {"cuda_sm80",
       Backend::cuda,
       Isa::reference,
       gemm_w8a8_fits_sm80,
       "sm_80 or newer, rows of x and w on 16 bytes",
       gemm_w8a8_sm80},
      {"cuda_any", Backend::cuda, Isa::reference, nullptr, "always", gemm_w8a8_any},
#endif
#if defined(__x86_64__)
      {"avx512_vnni",
       Backend::cpu,
       Isa::avx512,
       is_wide,
       "y is f32 or i32, only scales and bias",
       run_simd<avx512::gemm_w8a8_columns>},
      {"avx512_vnni_composed",
       Backend::cpu,
       Isa::avx512,
       nullptr,
       "AVX-512 with VNNI",
       run_composed<avx512::gemm_w8a8_columns>},
      {"avx2",
       Backend::cpu,
       Isa::avx2,
       is_wide,
       "y is f32 or i32, only scales and bias",
       run_simd<avx2::gemm_w8a8_columns>},
      {"avx2_composed", Backend::cpu, Isa::avx2, nullptr, "AVX2", run_composed<avx2::gemm_w8a8_columns>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

}  // namespace

int64_t gemm_w8a8_workspace_bytes(const Context&, const GemmW8A8Args&) {
  return 0;
}  // blocks live on the stacks

void gemm_w8a8(const Context& ctx, const GemmW8A8Args& args) {
  validate(ctx, args);
  choose(kVariants, kOp, ctx, args).run(ctx, args);
  if (args.y_amax && ctx.backend == Backend::cpu) gemm_w8a8_raise_amax(args);
}

KernelInfo gemm_w8a8_variant(const Context& ctx, const GemmW8A8Args& args) {
  validate(ctx, args);
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
