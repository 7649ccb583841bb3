#include "ops/embedding/embedding.h"

#include <fmt/format.h>

#include <cstring>

#include "core/check.h"
#include "core/dispatch.h"
#include "core/thread_pool.h"
#include "ops/embedding/embedding_ref.h"
#include "ops/embedding/embedding_simd.h"
#if defined(OCTAVO_CUDA)
#include "ops/embedding/embedding_cuda.h"
#endif

namespace octavo {
namespace {

constexpr const char* kOp = "embedding";
constexpr int64_t kElementsPerTask = 16384;  // fewer cost more to hand to a thread than to copy

void validate(const Context& ctx, const EmbeddingArgs& a) {
  expect_tensor(kOp, "table", a.table, ctx.backend, {DType::f32, DType::f16, DType::bf16, DType::i8},
                {-1, -1});
  const int64_t vocabulary = a.table.dim(0), width = a.table.dim(1);
  if (a.table.dtype() == DType::i8)
    expect_tensor(kOp, "table_scale", a.table_scale, ctx.backend, {DType::f32}, {vocabulary});
  else if (a.table_scale)
    fail_argument(
        kOp, "table_scale",
        fmt::format("is given with a {} table; only an i8 table has scales", name_of(a.table.dtype())));
  expect_tensor(kOp, "ids", a.ids, ctx.backend, {DType::i32}, {-1});
  expect_tensor(kOp, "out", a.out, ctx.backend, {DType::f32, DType::f16, DType::bf16}, {a.ids.dim(0), width});
}

// All ids before anything is written. Device memory is not read from here: a CUDA kernel gives such rows NaN.
void validate_ids(const EmbeddingArgs& a) {
  const int64_t vocabulary = a.table.dim(0);
  for (int64_t t = 0; t < a.ids.dim(0); ++t)
    if (const int32_t id = a.ids.as<int32_t>()[t]; id < 0 || id >= vocabulary)
      fail_argument(kOp, "ids",
                    fmt::format("holds id {} at position {}, outside the vocabulary of {} (ids 0 to {})", id,
                                t, vocabulary, vocabulary - 1));
}

const uint8_t* table_row(const EmbeddingArgs& a, int64_t t) {
  return static_cast<const uint8_t*>(a.table.data()) +
         a.ids.as<int32_t>()[t] * a.table.stride(0) * size_of(a.table.dtype());
}

template <class Body>
void for_tokens(const Context& ctx, const EmbeddingArgs& a, const Body& body) {
  const int64_t grain = 1 + kElementsPerTask / (a.table.dim(1) + 1);
  parallel_for(ctx.pool, a.ids.dim(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) body(t);
  });
}

bool same_dtype(const EmbeddingArgs& a, const DeviceFacts&) { return a.table.dtype() == a.out.dtype(); }

void run_copy(const Context& ctx, const EmbeddingArgs& a) {
  const int64_t size = size_of(a.out.dtype()), bytes = a.out.dim(1) * size;
  if (bytes == 0) return;
  for_tokens(ctx, a, [&](int64_t t) {
    std::memcpy(static_cast<uint8_t*>(a.out.data()) + t * a.out.stride(0) * size, table_row(a, t),
                static_cast<size_t>(bytes));
  });
}

void run_reference(const Context&, const EmbeddingArgs& args) { embedding_ref(args); }

#if defined(__x86_64__)
template <void (*kernel)(const EmbeddingRow&)>
void run_rows(const Context& ctx, const EmbeddingArgs& a) {
  for_tokens(ctx, a, [&](int64_t t) {
    kernel({.row = table_row(a, t),
            .dtype = a.table.dtype(),
            .scale = a.table_scale ? a.table_scale.as<float>()[a.ids.as<int32_t>()[t]] : 1.0f,
            .out = a.out.as<float>() + t * a.out.stride(0),
            .width = a.out.dim(1)});
  });
}

bool widens_to_f32(const EmbeddingArgs& a, const DeviceFacts&) {
  return a.out.dtype() == DType::f32 && a.table.dtype() != DType::f32;
}
#endif

constexpr auto kVariants = std::to_array<Variant<EmbeddingArgs>>({
#if defined(OCTAVO_CUDA)
  {"cuda_octets",   Backend::cuda, Isa::reference, embedding_fits_octets, "aligned rows of 8n elements",
   embedding_octets},
      {"cuda_elements", Backend::cuda, Isa::reference, nullptr, "always", embedding_elements},
#endif
      {"copy", Backend::cpu, Isa::reference, same_dtype, "table and out of one type", run_copy},
#if defined(__x86_64__)
      {"avx512",
       Backend::cpu,
       Isa::avx512,
       widens_to_f32,
       "i8, f16 or bf16 table, f32 out",
       run_rows<avx512::embedding_row>},
      {"avx2",
       Backend::cpu,
       Isa::avx2,
       widens_to_f32,
       "i8, f16 or bf16 table, f32 out",
       run_rows<avx2::embedding_row>},
#endif
      {"reference", Backend::cpu, Isa::reference, nullptr, "always", run_reference},
});

}  // namespace

void embedding(const Context& ctx, const EmbeddingArgs& args) {
  validate(ctx, args);
  if (ctx.backend == Backend::cpu) validate_ids(args);
  choose(kVariants, kOp, ctx, args).run(ctx, args);
}

KernelInfo embedding_variant(const Context& ctx, const EmbeddingArgs& args) {
  validate(ctx, args);
  return kernel_info(choose(kVariants, kOp, ctx, args));
}

}  // namespace octavo
