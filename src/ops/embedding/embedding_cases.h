// Cases of embedding: every pair of types, exact on every backend.
#pragma once
#include <fmt/format.h>

#include "harness/op_case.h"
#include "ops/embedding/embedding.h"
#include "ops/embedding/embedding_ref.h"

namespace octavo {

struct EmbeddingShape {
  int64_t tokens, vocabulary, width;
  DType table = DType::f32, out = DType::f32;
  int64_t pitch = 0, misalign = 0;
  bool hard = false, perf = false;
};

inline harness::OpCase embedding_case(const EmbeddingShape& s, std::string why) {
  using namespace harness;
  OpCase c;
  c.name = fmt::format("{}x{}x{}/{}_to_{}{}{}{}", s.tokens, s.vocabulary, s.width, name_of(s.table),
                       name_of(s.out), s.hard ? "/hard" : "", s.pitch ? fmt::format("/pitch{}", s.pitch) : "",
                       s.misalign ? fmt::format("/misalign{}", s.misalign) : "");
  c.why = std::move(why);
  c.perf = s.perf;
  c.nan_declared = s.hard;
  const bool codes = s.table == DType::i8;
  // The first and the last id are always there.
  const auto ids = [vocabulary = s.vocabulary](HostTensor& t, uint64_t seed) {
    for (int64_t i = 0; i < t.numel(); ++i)
      t.set(i, static_cast<double>(i == 0   ? vocabulary - 1
                                   : i == 1 ? 0
                                            : random_bits(seed, static_cast<uint64_t>(i)) %
                                                  static_cast<uint64_t>(vocabulary)));
  };
  c.args.push_back(input("table", s.table, {s.vocabulary, s.width},
                         codes    ? all_codes()
                         : s.hard ? hard_rows()
                                  : normal()));
  c.args.push_back(output("out", s.out, {s.tokens, s.width}, Judge::exact));
  for (auto& arg : c.args) arg.pitch = s.pitch, arg.misalign = s.misalign;
  c.args.push_back(input("ids", DType::i32, {s.tokens}, ids));
  if (codes)
    c.args.push_back(
        input("table_scale", DType::f32, {s.vocabulary}, s.hard ? hard_rows() : uniform(1e-3, 1e-2)));
  const auto args_of = [codes](CaseTensors t) {
    return EmbeddingArgs{.table = t[0], .table_scale = codes ? t[3] : Tensor(), .ids = t[2], .out = t[1]};
  };
  c.call = [=](const Context& ctx, CaseTensors t) { embedding(ctx, args_of(t)); };
  c.reference = [=](CaseTensors t) { embedding_ref(args_of(t)); };
  c.bytes = s.tokens * (s.width * (size_of(s.table) + size_of(s.out)) + 4 + (codes ? 4 : 0));
  c.ops = codes ? s.tokens * s.width : 0;
  return c;
}

inline std::vector<harness::OpCase> embedding_cases() {
  std::vector<harness::OpCase> cases;
  const auto add = [&](const EmbeddingShape& s, const char* why) { cases.push_back(embedding_case(s, why)); };
  for (const DType table : {DType::f32, DType::f16, DType::bf16, DType::i8})
    for (const DType out : {DType::f32, DType::f16, DType::bf16}) {
      for (const int64_t width : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100, 128, 172, 1025})
        add({.tokens = 5, .vocabulary = 11, .width = width, .table = table, .out = out},
            "widths around every vector boundary");
      for (const int64_t width : {5137, 8193})
        add({.tokens = 3, .vocabulary = 4, .width = width, .table = table, .out = out}, "wide and odd");
      add({.tokens = 1, .vocabulary = 2048, .width = 64, .table = table, .out = out}, "one token: decode");
      add({.tokens = 0, .vocabulary = 11, .width = 64, .table = table, .out = out}, "no tokens");
      add({.tokens = 3, .vocabulary = 11, .width = 0, .table = table, .out = out}, "no columns");
      add({.tokens = 3, .vocabulary = 1, .width = 17, .table = table, .out = out}, "a vocabulary of one");
      add({.tokens = 40, .vocabulary = 18, .width = 33, .table = table, .out = out, .hard = true},
          "NaN, Inf, denormals pass through");
      add({.tokens = 5, .vocabulary = 11, .width = 129, .table = table, .out = out, .pitch = 256},
          "octavo's weight pitch");
      add({.tokens = 5, .vocabulary = 11, .width = 129, .table = table, .out = out, .misalign = 1},
          "starts off every vector boundary");
    }
  for (const DType table : {DType::bf16, DType::i8})
    for (const DType out : {DType::f32, DType::bf16})
      for (const int64_t tokens : {1, 512, 8192})
        add({.tokens = tokens, .vocabulary = 32768, .width = 4096, .table = table, .out = out, .perf = true},
            "an 8B model");
  return cases;
}

}  // namespace octavo
