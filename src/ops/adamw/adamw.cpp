#include "ops/adamw/adamw.h"

#include <fmt/format.h>

#include <cmath>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"
#include "ops/adamw/adamw_ref.h"
#include "ops/adamw/adamw_simd.h"
#if defined(OCTAVO_CUDA)
#include "ops/adamw/adamw_cuda.h"
#endif

namespace octavo {
namespace {

constexpr const char* kOp = "adamw";
constexpr int64_t kElementsPerTask = 8192;  // fewer cost more to hand to a thread than to compute

void expect_number(const char* name, float value, float low, float below) {
  if (!(value >= low && value < below))
    fail_argument(kOp, name, fmt::format("is {}, expected {} <= {} < {}", value, low, name, below));
}

void validate_tensor(const Context& ctx, const AdamWTensor& t, size_t index) {
  const auto expect = [&](const char* part, const ConstTensor& tensor, std::initializer_list<DType> dtypes) {
    const std::string name = fmt::format("tensors[{}].{}", index, part);
    expect_dtype(kOp, name, tensor, dtypes);
    bool same = tensor.rank() == t.param.rank();
    for (int d = 0; same && d < tensor.rank(); ++d) same = tensor.dim(d) == t.param.dim(d);
    if (!same)
      fail_argument(
          kOp, name,
          fmt::format("is {}, param is {}; the shapes must be equal", tensor.describe(), t.param.describe()));
    if (tensor.numel() > 0 && !tensor.data())
      fail_argument(kOp, name, fmt::format("is {} with a null pointer", tensor.describe()));
    if (!tensor.dense())
      fail_argument(kOp, name,
                    fmt::format("{} is not dense; adamw takes it as one run of elements", tensor.describe()));
    expect_backend(kOp, name, tensor, ctx.backend);
  };
  expect("param", t.param, {DType::f32, DType::bf16});
  expect("grad", t.grad, {DType::f32, DType::bf16});
  expect("exp_avg", t.exp_avg, {DType::f32});
  expect("exp_avg_sq", t.exp_avg_sq, {DType::f32});
}

void validate(const Context& ctx, const AdamWArgs& a) {
  for (size_t i = 0; i < a.tensors.size(); ++i) validate_tensor(ctx, a.tensors[i], i);
  expect_number("lr", a.lr, 0, INFINITY);
  expect_number("beta1", a.beta1, 0, 1);
  expect_number("beta2", a.beta2, 0, 1);
  expect_number("eps", a.eps, 0, INFINITY);
  expect_number("weight_decay", a.weight_decay, 0, INFINITY);
  expect_tensor(kOp, "step", a.step, ctx.backend, {DType::i32}, {1});
  if (a.skip) expect_tensor(kOp, "skip", a.skip, ctx.backend, {DType::i32}, {1});
  if (a.grad_scale) expect_tensor(kOp, "grad_scale", a.grad_scale, ctx.backend, {DType::f32}, {1});
}

// Values that lie in tensors; on a device they are not read from here.
void validate_values(const AdamWArgs& a) {
  if (const int32_t step = a.step.as<int32_t>()[0]; step < 0 || step == 2147483647)
    fail_argument(kOp, "step", fmt::format("holds {}, expected 0 to 2147483646 steps done so far", step));
  if (a.grad_scale)
    if (const float scale = a.grad_scale.as<float>()[0]; !(scale > 0 && scale < INFINITY))
      fail_argument(kOp, "grad_scale", fmt::format("holds {}, expected a positive number", scale));
}

void run_reference(const Context&, const AdamWArgs& args) { adamw_ref<double>(args); }

#if defined(__x86_64__)
template <void (*kernel)(const AdamWRange&)>
void run_ranges(const Context& ctx, const AdamWArgs& a) {
  if (a.skip && a.skip.as<int32_t>()[0] != 0) return;
  const int32_t step = ++a.step.as<int32_t>()[0];
  const double lr = a.lr, beta1 = a.beta1, beta2 = a.beta2;
  const AdamWRange numbers{
      .grad_factor = a.grad_scale ? 1.0f / a.grad_scale.as<float>()[0] : 1.0f,
      .decay = static_cast<float>(1 - lr * a.weight_decay),
      .beta1 = a.beta1,
      .beta2 = a.beta2,
      .one_minus_beta1 = static_cast<float>(1 - beta1),
      .one_minus_beta2 = static_cast<float>(1 - beta2),
      .step_size = static_cast<float>(lr / (1 - std::pow(beta1, step))),
      .root_correction = static_cast<float>(1 / std::sqrt(1 - std::pow(beta2, step))),
      .eps = a.eps,
  };
  for (const AdamWTensor& t : a.tensors)
    parallel_for(ctx.pool, t.param.numel(), kElementsPerTask, [&](int64_t begin, int64_t end) {
      AdamWRange range = numbers;
      range.param = t.param.as<float>() + begin, range.grad = t.grad.as<float>() + begin;
      range.exp_avg = t.exp_avg.as<float>() + begin, range.exp_avg_sq = t.exp_avg_sq.as<float>() + begin;
      range.n = end - begin;
      kernel(range);
    });
}

bool all_f32(const AdamWArgs& a, const DeviceFacts&) {
  for (const AdamWTensor& t : a.tensors)
    if (t.param.dtype() != DType::f32 || t.grad.dtype() != DType::f32) return false;
  return true;
}
#endif

constexpr auto kVariants = std::to_array<Variant<AdamWArgs>>({
#if defined(OCTAVO_CUDA)
  {"cuda_multi_tensor", Backend::cuda, Isa::reference, nullptr, "always", adamw_multi_tensor},
#endif
#if defined(__x86_64__)
      {"avx512", Backend::cpu, Isa::avx512, all_f32, "params and grads f32", run_ranges<avx512::adamw_range>},
      {"avx2", Backend::cpu, Isa::avx2, all_f32, "params and grads f32", run_ranges<avx2::adamw_range>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

}  // namespace

void adamw(const Context& ctx, const AdamWArgs& args) {
  validate(ctx, args);
  if (ctx.backend == Backend::cpu) validate_values(args);
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo adamw_variant(const Context& ctx, const AdamWArgs& args) {
  validate(ctx, args);
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
