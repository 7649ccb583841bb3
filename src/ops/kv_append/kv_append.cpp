#include "ops/kv_append/kv_append.h"

#include <fmt/format.h>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/quantizer.h"
#include "core/thread_pool.h"
#include "ops/kv_append/kv_append_ref.h"
#include "ops/kv_append/kv_append_simd.h"

namespace octavo {
namespace {

constexpr const char* kOp = "kv_append";

void check_cache(const KvView& cache) {
  if (cache.dtype != DType::i8 && cache.dtype != DType::f32 && cache.dtype != DType::f16 &&
      cache.dtype != DType::bf16)
    fail_argument(kOp, "cache",
                  fmt::format("holds {}, expected one of: f32, f16, bf16, i8", name_of(cache.dtype)));
  if (cache.heads < 1 || cache.head_dim < 1 || cache.pages_per_sequence < 0)
    fail_argument(
        kOp, "cache",
        fmt::format("has {} heads of {} elements and {} pages a sequence, expected at least 1, 1 and 0",
                    cache.heads, cache.head_dim, cache.pages_per_sequence));
}

void check_storage(const KvView& cache) {
  if (!cache.k || !cache.v) fail_argument(kOp, "cache", "has a null pointer for k or v");
  if (cache.dtype == DType::i8 && (!cache.k_scale || !cache.v_scale))
    fail_argument(kOp, "cache",
                  "is i8 and has no k_scale or v_scale; INT8 needs one fp32 scale per page, head and key");
}

// Every token's slot exists: checked before anything is written.
void check_slots(const KvAppendArgs& args) {
  const KvView& cache = args.cache;
  const int64_t capacity = cache.pages_per_sequence * KvView::kPageTokens;
  for (int64_t t = 0; t < args.k.dim(0); ++t) {
    const int64_t sequence = args.sequences ? args.sequences.as<int32_t>()[t] : 0;
    const int64_t position = args.positions.as<int32_t>()[t];
    if (sequence < 0)
      fail_argument(kOp, "sequences",
                    fmt::format("names sequence {} for token {}, expected 0 or more", sequence, t));
    if (position < 0 || position >= capacity)
      fail_argument(
          kOp, "positions",
          fmt::format("puts token {} at position {} of sequence {}, but the cache holds {} tokens a sequence "
                      "({} pages of {}); make the context longer or the prompt shorter",
                      t, position, sequence, capacity, cache.pages_per_sequence, KvView::kPageTokens));
    if (!cache.page_table) continue;
    const int64_t page_slot = sequence * cache.pages_per_sequence + position / KvView::kPageTokens;
    if (cache.page_table[page_slot] < 0)
      fail_argument(kOp, "cache",
                    fmt::format("has no page for position {} of sequence {} (page table entry {} is {})",
                                position, sequence, page_slot, cache.page_table[page_slot]));
  }
}

void check(const KvAppendArgs& args) {
  const KvView& cache = args.cache;
  check_cache(cache);
  expect_dtype(kOp, "k", args.k, {DType::f32, DType::f16, DType::bf16});
  expect_shape(kOp, "k", args.k, {-1, cache.heads, cache.head_dim});
  expect_unit_stride(kOp, "k", args.k);
  const int64_t tokens = args.k.dim(0);
  expect_dtype(kOp, "v", args.v, {args.k.dtype()});
  expect_shape(kOp, "v", args.v, {tokens, cache.heads, cache.head_dim});
  expect_unit_stride(kOp, "v", args.v);
  if (args.sequences) {
    expect_dtype(kOp, "sequences", args.sequences, {DType::i32});
    expect_shape(kOp, "sequences", args.sequences, {tokens});
    expect_unit_stride(kOp, "sequences", args.sequences);
  }
  expect_dtype(kOp, "positions", args.positions, {DType::i32});
  expect_shape(kOp, "positions", args.positions, {tokens});
  expect_unit_stride(kOp, "positions", args.positions);
  if (tokens == 0) return;
  check_storage(cache);
  check_slots(args);
}

int64_t token_grain(
    const KvAppendArgs& args) {  // a range of tokens is worth a thread from about 16k elements
  return std::max<int64_t>(1, 16384 / (args.cache.heads * args.cache.head_dim));
}

void run_reference(const Context& ctx, const KvAppendArgs& args) {
  parallel_for(ctx.pool, args.k.dim(0), token_grain(args),
               [&](int64_t begin, int64_t end) { kv_append_ref_tokens(args, begin, end); });
}

#if defined(__x86_64__)

struct Kernels {
  void (*f16)(const AppendRow&);
  void (*bf16)(const AppendRow&);
  float (*amax)(const AppendRow&);
  void (*codes)(const AppendRow&, float inverse);
};

void append_row(const Kernels& kernels, DType dtype, const AppendRow& row, float* scales,
                int64_t scale_slot) {
  if (dtype == DType::f16) return kernels.f16(row);
  if (dtype == DType::bf16) return kernels.bf16(row);
  const RowCoding coding = row_coding(kernels.amax(row));
  kernels.codes(row, coding.inverse);
  scales[scale_slot] = coding.scale;
}

void append_tokens(const Kernels& kernels, const KvAppendArgs& args, int64_t begin, int64_t end) {
  const KvView& cache = args.cache;
  const float *k = args.k.as<float>(), *v = args.v.as<float>();  // [T, Hkv, D]
  const auto slot_of = [&](void* pool, int64_t slot) {
    return static_cast<uint8_t*>(pool) + slot * size_of(cache.dtype);
  };
  for (int64_t t = begin; t < end; ++t) {
    const int64_t sequence = args.sequences ? args.sequences.as<int32_t>()[t] : 0;
    const int64_t position = args.positions.as<int32_t>()[t];
    for (int64_t h = 0; h < cache.heads; ++h) {
      const int64_t slot = cache.offset(sequence, h, position),
                    scale_slot = cache.scale_offset(sequence, h, position);
      append_row(kernels, cache.dtype,
                 {k + t * args.k.stride(0) + h * args.k.stride(1), cache.head_dim, slot_of(cache.k, slot)},
                 cache.k_scale, scale_slot);
      append_row(kernels, cache.dtype,
                 {v + t * args.v.stride(0) + h * args.v.stride(1), cache.head_dim, slot_of(cache.v, slot)},
                 cache.v_scale, scale_slot);
    }
  }
}

template <const Kernels& kKernels>
void run_simd(const Context& ctx, const KvAppendArgs& args) {
  parallel_for(ctx.pool, args.k.dim(0), token_grain(args),
               [&](int64_t begin, int64_t end) { append_tokens(kKernels, args, begin, end); });
}

constexpr Kernels kAvx2 = {avx2::append_f16, avx2::append_bf16, avx2::append_amax, avx2::append_codes};
constexpr Kernels kAvx512 = {avx512::append_f16, avx512::append_bf16, avx512::append_amax,
                             avx512::append_codes};

bool converts_f32(const KvAppendArgs& args, const DeviceFacts&) {
  return args.k.dtype() == DType::f32 && args.cache.dtype != DType::f32;
}

#endif

constexpr VariantTable<KvAppendArgs,
#if defined(__x86_64__)
                       3
#else
                       1
#endif
                       >
    kVariants = {{
#if defined(__x86_64__)
        {"avx512", Backend::cpu, Isa::avx512, converts_f32, "f32 into an f16, bf16 or i8 cache",
         run_simd<kAvx512>},
        {"avx2", Backend::cpu, Isa::avx2, converts_f32, "f32 into an f16, bf16 or i8 cache", run_simd<kAvx2>},
#endif
        {"reference", Backend::cpu, Isa::reference, nullptr, "any; a copy where the dtypes agree",
         run_reference},
    }};

}  // namespace

void kv_append(const Context& ctx, const KvAppendArgs& args) {
  check(args);
  if (args.k.dim(0) == 0) return;
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo kv_append_variant(const Context& ctx, const KvAppendArgs& args) {
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
