#include "ops/attention_f/attention_f.h"

#include <fmt/format.h>

#include <cmath>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/workspace.h"
#include "ops/attention_f/attention_f_blocked.h"
#include "ops/attention_f/attention_f_cuda.h"
#include "ops/attention_f/attention_f_ref.h"
#include "ops/attention_f/attention_f_simd.h"

namespace octavo {
namespace {

constexpr const char* kOp = "attention_f";

void check_kv(const AttentionFArgs& args) {
  const KvView& kv = args.kv;
  if (kv.dtype != DType::f32 && kv.dtype != DType::f16 && kv.dtype != DType::bf16 && kv.dtype != DType::i8)
    fail_argument(kOp, "kv", fmt::format("holds {}, expected one of: f32, f16, bf16, i8", name_of(kv.dtype)));
  if (kv.head_dim != args.q.dim(2))
    fail_argument(kOp, "kv", fmt::format("has head dimension {}, but q has {}", kv.head_dim, args.q.dim(2)));
  if (kv.heads < 1 || args.q.dim(1) % kv.heads != 0)
    fail_argument(kOp, "kv",
                  fmt::format("has {} heads, but q has {}; expected a divisor", kv.heads, args.q.dim(1)));
  if (kv.dtype == DType::i8 && (!kv.k_scale || !kv.v_scale))
    fail_argument(kOp, "kv",
                  "is i8 and has no k_scale or v_scale; INT8 needs one fp32 scale per page, head and key");
}

void check_sequences(const AttentionFArgs& args) {
  const KvView& kv = args.kv;
  const int64_t sequences = args.kv_len.dim(0), capacity = kv.pages_per_sequence * KvView::kPageTokens;
  const int32_t *q_start = args.q_start.as<int32_t>(), *kv_len = args.kv_len.as<int32_t>();
  if (q_start[0] < 0 || q_start[sequences] > args.q.dim(0))
    fail_argument(
        kOp, "q_start",
        fmt::format("runs from {} to {}, but q has {} rows", q_start[0], q_start[sequences], args.q.dim(0)));
  for (int64_t b = 0; b < sequences; ++b) {
    if (q_start[b + 1] < q_start[b])
      fail_argument(kOp, "q_start",
                    fmt::format("falls from {} to {} at sequence {}", q_start[b], q_start[b + 1], b));
    if (kv_len[b] < 0 || kv_len[b] > capacity)
      fail_argument(kOp, "kv_len",
                    fmt::format("is {} for sequence {}, but the cache holds 0 to {} keys a sequence",
                                kv_len[b], b, capacity));
    if (kv_len[b] > 0 && (!kv.k || !kv.v)) fail_argument(kOp, "kv", "has a null pointer for k or v");
    for (int64_t page = 0; kv.page_table && page * KvView::kPageTokens < kv_len[b]; ++page)
      if (const int32_t entry = kv.page_table[b * kv.pages_per_sequence + page]; entry < 0)
        fail_argument(kOp, "kv",
                      fmt::format("has page table entry {} for page {} of sequence {}, which holds keys",
                                  entry, page, b));
  }
}

void check(const Context& ctx, const AttentionFArgs& args) {
  expect_dtype(kOp, "q", args.q, {DType::f32, DType::f16, DType::bf16});
  expect_shape(kOp, "q", args.q, {-1, -1, -1});
  expect_unit_stride(kOp, "q", args.q);
  if (args.q.dim(1) < 1 || args.q.dim(2) < 1)
    fail_argument(kOp, "q", fmt::format("is {}, expected at least 1 head of 1 element", args.q.describe()));
  check_kv(args);
  expect_dtype(kOp, "out", args.out, {args.q.dtype()});
  expect_shape(kOp, "out", args.out, {args.q.dim(0), args.q.dim(1), args.q.dim(2)});
  expect_unit_stride(kOp, "out", args.out);
  if (args.lse) {
    expect_dtype(kOp, "lse", args.lse, {DType::f32});
    expect_shape(kOp, "lse", args.lse, {args.q.dim(0), args.q.dim(1)});
  }
  expect_dtype(kOp, "kv_len", args.kv_len, {DType::i32});
  expect_shape(kOp, "kv_len", args.kv_len, {-1});
  expect_unit_stride(kOp, "kv_len", args.kv_len);
  expect_dtype(kOp, "q_start", args.q_start, {DType::i32});
  expect_shape(kOp, "q_start", args.q_start, {args.kv_len.dim(0) + 1});
  expect_unit_stride(kOp, "q_start", args.q_start);
  if (!std::isfinite(args.scale))
    fail_argument(kOp, "scale", fmt::format("is {}, expected a finite number", args.scale));
  if (args.window < 0)
    fail_argument(kOp, "window", fmt::format("is {}, expected 0 (all keys) or more", args.window));
  if (ctx.backend == Backend::cpu) check_sequences(args);  // on CUDA the lengths lie on the device
}

// The scores of one row a thread.
int64_t reference_workspace_bytes(const Context& ctx, const AttentionFArgs& args) {
  return attention_threads(ctx) * args.kv.pages_per_sequence * KvView::kPageTokens *
             static_cast<int64_t>(sizeof(double)) +
         kWorkspaceAlignment;
}

void run_reference(const Context& ctx, const AttentionFArgs& args) {
  const int64_t heads = args.q.dim(1), capacity = args.kv.pages_per_sequence * KvView::kPageTokens;
  const int32_t* q_start = args.q_start.as<int32_t>();
  auto* scores = static_cast<double*>(workspace_start(ctx));  // [threads][capacity]
  for (int64_t b = 0; b < args.kv_len.dim(0); ++b)
    attention_items(ctx, (q_start[b + 1] - q_start[b]) * heads, [&](int64_t slot, int64_t item) {
      attention_f_ref_row<double>(args, b, q_start[b] + item / heads, item % heads, scores + slot * capacity);
    });
}

#if defined(__x86_64__)
constexpr AttentionKernels kAvx2 = {avx2::attention_leaf, avx2::attention_tile, avx2::attention_merge,
                                    avx2::attention_finish, 8};
constexpr AttentionKernels kAvx512 = {avx512::attention_leaf, avx512::attention_tile, avx512::attention_merge,
                                      avx512::attention_finish, 16};

template <const AttentionKernels& kKernels>
void run_blocked(const Context& ctx, const AttentionFArgs& args) {
  attention_f_blocked(ctx, args, kKernels);
}
#endif

constexpr auto kVariants = std::to_array<Variant<AttentionFArgs>>({
#if defined(OCTAVO_CUDA)
  {"cuda_sm90",
   Backend::cuda,
   Isa::reference,
   attention_f_fits_sm90,
   "sm_90, f16 or bf16 (q and cache alike), D a multiple of 8 up to 128, rows on 16 bytes, scale above 0",
   attention_f_sm90},
      {"cuda_sm80",
       Backend::cuda,
       Isa::reference,
       attention_f_fits_sm80,
       "sm_80 or newer, f16 or bf16, D a multiple of 8 up to 256, rows on 16 bytes, scale above 0",
       attention_f_sm80},
      {"cuda_any", Backend::cuda, Isa::reference, attention_f_fits_any, "D up to 512", attention_f_any},
#endif
#if defined(__x86_64__)
      {"avx512_blocked", Backend::cpu, Isa::avx512, nullptr, "any", run_blocked<kAvx512>},
      {"avx2_blocked", Backend::cpu, Isa::avx2, nullptr, "any", run_blocked<kAvx2>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "any", run_reference},
});

}  // namespace

int64_t attention_f_workspace_bytes(const Context& ctx, const AttentionFArgs& args) {
  if (ctx.backend == Backend::cuda) return 0;
  return choose(kVariants, kOp, ctx, args).isa == Isa::reference
             ? reference_workspace_bytes(ctx, args)
             : attention_f_blocked_workspace_bytes(ctx, args);
}

void attention_f(const Context& ctx, const AttentionFArgs& args) {
  check(ctx, args);
  const auto& variant = choose(kVariants, kOp, ctx, args);
  if (args.q.dim(0) == 0) return;
  if (const int64_t needed = attention_f_workspace_bytes(ctx, args)) expect_workspace(kOp, ctx, needed);
  variant.run(ctx, args);
}

KernelInfo attention_f_variant(const Context& ctx, const AttentionFArgs& args) {
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
