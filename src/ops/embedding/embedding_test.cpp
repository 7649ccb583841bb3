#include "ops/embedding/embedding.h"

#include "harness/expect_cases.h"
#include "harness/expect_error.h"
#include "harness/isa_test.h"
#include "ops/embedding/embedding_cases.h"

namespace octavo {
namespace {

using harness::HostTensor;

class Embedding : public harness::IsaTest {};
OCTAVO_EVERY_ISA(Embedding);

TEST_P(Embedding, Cases) { harness::expect_cases(ctx, harness::small_cases(embedding_cases())); }

TEST_P(Embedding, ThreadsDoNotChangeBits) {
  for (const DType table : {DType::f32, DType::i8})
    harness::expect_same_bits_on_all_thread_counts(
        GetParam(), embedding_case({.tokens = 97, .vocabulary = 50, .width = 1025, .table = table}, ""));
}

TEST_P(Embedding, KnownValues) {
  HostTensor table(DType::i8, {3, 2}), scale(DType::f32, {3}), ids(DType::i32, {2}), out(DType::f32, {2, 2});
  for (int i = 0; i < 6; ++i) table.set(i, i == 5 ? -128 : i);
  scale.set(0, 1), scale.set(1, 0.5), scale.set(2, 0.25), ids.set(0, 2), ids.set(1, 1);
  embedding(ctx, {.table = table.view(), .table_scale = scale.view(), .ids = ids.view(), .out = out.view()});
  const double want[] = {1.0, -32.0, 1.0, 1.5};
  for (int i = 0; i < 4; ++i) EXPECT_EQ(out.get(i), want[i]) << i;
}

TEST_P(Embedding, AnIdOutsideIsAnErrorAndNothingIsWritten) {
  HostTensor table(DType::f32, {4, 3}), ids(DType::i32, {3}), out(DType::f32, {3, 3});
  table.fill(1), out.fill(7);
  const auto refused = [&](int id, const char* message) {
    ids.fill(0), ids.set(2, id);
    harness::expect_error(ErrorKind::usage, message, [&] {
      embedding(ctx, {.table = table.view(), .ids = ids.view(), .out = out.view()});
    });
    for (int i = 0; i < 9; ++i) EXPECT_EQ(out.get(i), 7) << i;
  };
  refused(4, "embedding: ids holds id 4 at position 2, outside the vocabulary of 4 (ids 0 to 3)");
  refused(-1, "embedding: ids holds id -1 at position 2, outside the vocabulary of 4 (ids 0 to 3)");
  refused(2147483647, "embedding: ids holds id 2147483647");
}

TEST(EmbeddingVariant, IsChosenByTypes) {
  HostTensor f32(DType::f32, {2, 8}), bf16(DType::bf16, {2, 8}), ids(DType::i32, {2}),
      out16(DType::f16, {2, 8});
  for (const Isa isa : kAllIsas) {
    Context ctx;
    ctx.isa = isa;
    EXPECT_STREQ(embedding_variant(ctx, {.table = f32.view(), .ids = ids.view(), .out = f32.view()}).variant,
                 "copy");
    EXPECT_STREQ(embedding_variant(ctx, {.table = bf16.view(), .ids = ids.view(), .out = f32.view()}).variant,
                 name_of(isa));
    EXPECT_STREQ(
        embedding_variant(ctx, {.table = bf16.view(), .ids = ids.view(), .out = out16.view()}).variant,
        "reference");
  }
}

TEST(EmbeddingErrors, NameArgumentAndNumbers) {
  HostTensor table(DType::i8, {4, 3}), scale(DType::f32, {4}), ids(DType::i32, {2}), out(DType::f32, {2, 3}),
      f32(DType::f32, {4, 3});
  table.fill(1), scale.fill(1), ids.fill(0);
  const EmbeddingArgs good{
      .table = table.view(), .table_scale = scale.view(), .ids = ids.view(), .out = out.view()};
  embedding({}, good);
  const auto expect = [&](const char* message, auto change) {
    EmbeddingArgs bad = good;
    change(bad);
    harness::expect_error(ErrorKind::usage, message, [&] { embedding({}, bad); });
  };
  expect("embedding: table is i32[2], expected one of: f32, f16, bf16, i8",
         [&](auto& a) { a.table = ids.view(); });
  expect("embedding: table is f32[4], expected shape [any, any]", [&](auto& a) { a.table = scale.view(); });
  expect("embedding: table_scale is f32[], expected shape [4]", [&](auto& a) { a.table_scale = {}; });
  expect("embedding: table_scale is i32[2], expected one of: f32",
         [&](auto& a) { a.table_scale = ids.view(); });
  expect("embedding: table_scale is given with a f32 table", [&](auto& a) { a.table = f32.view(); });
  expect("embedding: ids is f32[4], expected one of: i32", [&](auto& a) { a.ids = scale.view(); });
  expect("embedding: out is f32[4, 3], expected shape [2, 3]", [&](auto& a) { a.out = f32.view(); });
  expect("embedding: out is i8[4, 3], expected one of: f32, f16, bf16",
         [&](auto& a) { a.out = table.view(); });
  expect("embedding: ids lies on a CUDA device",
         [&](auto& a) { a.ids = Tensor(ids.as<int32_t>(), DType::i32, {2}, Backend::cuda); });
}

}  // namespace
}  // namespace octavo
