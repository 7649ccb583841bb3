#include "weights/weight_loader.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/quantizer.h"
#include "core/thread_pool.h"
#include "harness/expect_error.h"
#include "weights/sample_folder.h"

namespace octavo {
namespace {

using harness::expect_error;
using harness::HostTensor;
using harness::TempFolder;

constexpr ErrorKind kBad = ErrorKind::bad_model;
const std::string kInt8Config =
    nlohmann::json{{"quantization_config", make_quantization_config({"lm_head"})}}.dump();

// Row r of `w` from row `first` on holds exactly what the one quantiser makes of the rows of `from`.
void expect_quantized(const LinearWeight& w, int64_t first, const SampleValues& from) {
  const int64_t rows = from.shape()[0], width = from.shape()[1];
  for (int64_t r = 0; r < rows; ++r) {
    float amax = 0;
    for (int64_t k = 0; k < width; ++k)
      amax = std::max(amax, std::abs(static_cast<float>(from.get(r * width + k))));
    const RowCoding coding = row_coding(amax);
    ASSERT_EQ(w.w_scale().as<float>()[first + r], coding.scale);
    const int8_t* codes = w.w().as<int8_t>() + (first + r) * w.pitch();
    int32_t sum = 0;
    for (int64_t k = 0; k < width; ++k) {
      const int8_t code = quantize(static_cast<float>(from.get(r * width + k)), coding.inverse);
      ASSERT_EQ(codes[k], code) << "row " << r << " column " << k;
      sum += code;
    }
    for (int64_t k = width; k < w.pitch(); ++k) ASSERT_EQ(codes[k], 0) << "tail of row " << r;
    ASSERT_EQ(w.w_code_sum().as<int32_t>()[first + r], sum);
  }
}

struct WeightLoaderTest : ::testing::Test {
  ThreadPool pool{2};
  Context ctx;
  TempFolder folder;
  WeightLoaderTest() { ctx.pool = &pool; }
  WeightLoader open() { return WeightLoader::open(folder.path(), ctx); }
};

TEST_F(WeightLoaderTest, QuantisesWhileReading) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    SCOPED_TRACE(name_of(dtype));
    const SampleValues q = normal(dtype, {5, 172}, 1), k = normal(dtype, {3, 172}, 2),
                       table = normal(dtype, {7, 172}, 3);
    write_model(folder, {{"a.q.weight", q}, {"a.k.weight", k}, {"embed.weight", table}});
    WeightLoader loader = open();
    EXPECT_FALSE(loader.file_is_quantized());
    const LinearWeight qk =
        loader.load_linear({.parts = {{"a.q", 5}, {"a.k", 3}}, .in_features = 172}, Storage::int8);
    EXPECT_EQ(qk.out_features, 8);
    EXPECT_EQ(qk.pitch(), 256);
    EXPECT_EQ(qk.w().describe(), "i8[8, 172]");
    EXPECT_EQ(qk.w().stride(0), 256);
    EXPECT_FALSE(qk.bias());
    EXPECT_EQ(qk.bytes(), LinearWeight::planned_bytes(8, 172, Storage::int8, dtype, false));
    expect_quantized(qk, 0, q);
    expect_quantized(qk, 5, k);
    expect_quantized(loader.load_table("embed", 7, 172, Storage::int8), 0, table);
    EXPECT_NO_THROW(loader.finish());
  }
}

TEST_F(WeightLoaderTest, ManyBlocksAndThreadsGiveTheSameBits) {
  // 2,100 rows of 4 KiB in f32 are more than one block of 8 MiB.
  const SampleValues w = normal(DType::f32, {2100, 1025}, 9);
  write_model(folder, {{"a.weight", w}});
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool some(threads);
    ctx.pool = &some;
    expect_quantized(open().load_table("a", 2100, 1025, Storage::int8), 0, w);
  }
}

TEST_F(WeightLoaderTest, FloatsStayAsStored) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    const SampleValues a = normal(dtype, {4, 9}, 1), b = normal(dtype, {2, 9}, 2);
    write_model(folder, {{"a.weight", a}, {"b.weight", b}});
    const LinearWeight w =
        open().load_linear({.parts = {{"a", 4}, {"b", 2}}, .in_features = 9}, Storage::floats);
    EXPECT_EQ(w.dtype, dtype);
    EXPECT_EQ(w.bytes(), LinearWeight::planned_bytes(6, 9, Storage::floats, dtype, false));
    EXPECT_FALSE(w.w_scale());
    EXPECT_FALSE(w.w_code_sum());
    const std::vector<uint8_t> first = a.bytes(), second = b.bytes();
    EXPECT_EQ(std::memcmp(w.w().data(), first.data(), first.size()), 0);
    EXPECT_EQ(
        std::memcmp(static_cast<const char*>(w.w().data()) + first.size(), second.data(), second.size()), 0);
  }
}

// A weight [3000, 1100] of 4-byte floats is more than one block; the file holds it transposed.
TEST_F(WeightLoaderTest, TransposedWeightsAreTurned) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const int64_t columns = 3000, rows = 1100;
    const SampleValues stored = normal(dtype, {columns, rows}, 4);
    HostTensor turned(dtype, {rows, columns});
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) turned.set(r * columns + c, stored.get(c * rows + r));
    write_model(folder, {{"a.weight", stored}});
    const LinearRequest request{.parts = {{"a", rows}}, .in_features = columns, .transposed = true};
    expect_quantized(open().load_linear(request, Storage::int8), 0, turned);
    const LinearWeight floats = open().load_linear(request, Storage::floats);
    EXPECT_EQ(floats.dtype, dtype);
    EXPECT_EQ(std::memcmp(floats.w().data(), turned.bytes().data(), turned.bytes().size()), 0);
  }
  write_model(folder, {{"a.weight", HostTensor(DType::i8, {3, 2})}}, kInt8Config);
  const LinearRequest request{.parts = {{"a", 2}}, .in_features = 3, .transposed = true};
  expect_error(kBad, "stores this weight transposed", [&] { open().load_linear(request, Storage::int8); });
}

TEST_F(WeightLoaderTest, PartsOfUnequalTypeWiden) {
  const SampleValues a = normal(DType::f16, {1, 3}, 1), b = normal(DType::bf16, {1, 3}, 2);
  write_model(folder, {{"a.weight", a}, {"b.weight", b}});
  const LinearWeight w =
      open().load_linear({.parts = {{"a", 1}, {"b", 1}}, .in_features = 3}, Storage::floats);
  for (int64_t k = 0; k < 3; ++k) {
    EXPECT_EQ(w.w().as<float>()[k], static_cast<float>(a.get(k)));
    EXPECT_EQ(w.w().as<float>()[3 + k], static_cast<float>(b.get(k)));
  }
}

TEST_F(WeightLoaderTest, BiasesAndVectorsBecomeF32) {
  const SampleValues bias = normal(DType::bf16, {2}, 5), other = normal(DType::f32, {1}, 6),
                     norm = normal(DType::f16, {3}, 7);
  write_model(folder, {{"a.weight", normal(DType::f32, {2, 3}, 1)},
                       {"a.bias", bias},
                       {"b.weight", normal(DType::f32, {1, 3}, 2)},
                       {"b.bias", other},
                       {"norm.weight", norm}});
  WeightLoader loader = open();
  const LinearWeight w =
      loader.load_linear({.parts = {{"a", 2}, {"b", 1}}, .in_features = 3, .bias = true}, Storage::int8);
  ASSERT_TRUE(w.bias());
  EXPECT_EQ(w.bias().as<float>()[1], static_cast<float>(bias.get(1)));
  EXPECT_EQ(w.bias().as<float>()[2], static_cast<float>(other.get(0)));
  EXPECT_EQ(w.bytes(), LinearWeight::planned_bytes(3, 3, Storage::int8, DType::f32, true));
  const FloatVector v = loader.load_vector("norm.weight", 3);
  EXPECT_EQ(v.view().as<float>()[2], static_cast<float>(norm.get(2)));
  EXPECT_EQ(v.bytes(), 12);
  loader.finish();
}

TEST_F(WeightLoaderTest, ReadsInt8FoldersAsTheyAre) {
  const SampleValues codes = HostTensor(DType::i8, {4, 172}).fill_codes(3);  // -128 included
  const SampleValues per_channel = HostTensor(DType::f32, {4, 1}).fill_uniform(4, 0.001, 0.1);
  const SampleValues one = HostTensor(DType::bf16, {1}).fill_uniform(5, 0.001, 0.1);
  const SampleValues flat = HostTensor(DType::f16, {4}).fill_uniform(6, 0.001, 0.1);
  write_model(folder,
              {{"a.weight", codes},
               {"a.weight_scale", per_channel},
               {"b.weight", codes},
               {"b.weight_scale", one},
               {"c.weight", codes},
               {"c.weight_scale", flat},
               {"lm_head.weight", normal(DType::bf16, {4, 172}, 8)}},
              kInt8Config);
  WeightLoader loader = open();
  EXPECT_TRUE(loader.file_is_quantized());
  const LinearRequest request{.parts = {{"a", 4}, {"b", 4}, {"c", 4}}, .in_features = 172};
  const LinearWeight w = loader.load_linear(request, Storage::int8);
  const LinearWeight f = loader.load_linear(request, Storage::floats);
  EXPECT_EQ(f.dtype, DType::f32);
  bool saw_lowest = false;
  for (int64_t r = 0; r < 12; ++r) {
    const SampleValues& stored = r < 4 ? per_channel : r < 8 ? one : flat;
    const auto scale = static_cast<float>(stored.get(r >= 4 && r < 8 ? 0 : r % 4));
    EXPECT_EQ(w.w_scale().as<float>()[r], scale);
    int32_t sum = 0;
    for (int64_t k = 0; k < 256; ++k) {
      const int code = k < 172 ? static_cast<int>(codes.get(r % 4 * 172 + k)) : 0;
      ASSERT_EQ(w.w().as<int8_t>()[r * 256 + k], code);
      sum += code;
      saw_lowest = saw_lowest || code == -128;
      if (k >= 172) continue;
      ASSERT_EQ(f.w().as<float>()[r * 172 + k], static_cast<float>(code) * scale);
    }
    EXPECT_EQ(w.w_code_sum().as<int32_t>()[r], sum);
  }
  EXPECT_TRUE(saw_lowest);
  // A layer that was left as floats is quantised like any other when INT8 is asked for.
  EXPECT_EQ(loader.load_table("lm_head", 4, 172, Storage::int8).dtype, DType::i8);
  loader.finish();
}

// Regular expressions in `ignore` are not evaluated: each layer is what its tensor is.
TEST_F(WeightLoaderTest, WhatIsStoredDecidesWhereIgnoreHoldsPatterns) {
  const SampleValues floats = normal(DType::bf16, {4, 8}, 1);
  write_model(
      folder,
      {{"a.weight", HostTensor(DType::i8, {4, 8}).fill_codes(3)},
       {"a.weight_scale", HostTensor(DType::f32, {4, 1}).fill(0.5)},
       {"mlp.gate.weight", floats},
       {"lm_head.weight", floats}},
      nlohmann::json{{"quantization_config", make_quantization_config({"re:.*lm_head", "re:.*gate$"})}}
          .dump());
  WeightLoader loader = open();
  EXPECT_TRUE(loader.file_is_quantized());
  EXPECT_EQ(loader.load_table("a", 4, 8, Storage::int8).w_scale().as<float>()[3], 0.5f);
  for (const char* name : {"mlp.gate", "lm_head"})
    expect_quantized(loader.load_table(name, 4, 8, Storage::int8), 0, floats);
  loader.finish();
}

TEST_F(WeightLoaderTest, ConfigAndTensorsThatDisagreeAreRefused) {
  write_model(folder, {{"a.weight", normal(DType::f32, {4, 172}, 1)},
                       {"a.bias", normal(DType::f32, {4}, 1)},
                       {"plain.weight", normal(DType::f32, {4, 172}, 2)},
                       {"ids.weight", HostTensor(DType::i64, {4, 172}).fill(1)},
                       {"codes.weight", HostTensor(DType::i8, {4, 172}).fill_codes(1)}});
  WeightLoader loader = open();
  const auto linear = [&](const std::string& name, int64_t rows, int64_t width) {
    loader.load_linear({.parts = {{name, rows}}, .in_features = width}, Storage::int8);
  };
  expect_error(kBad,
               "model.safetensors: tensor \"a.weight\" is F32 [4, 172], by config.json it should be [4, 128]",
               [&] { linear("a", 4, 128); });
  expect_error(kBad, "is F32 [4, 172], by config.json it should be [5, 172]", [&] { linear("a", 5, 172); });
  expect_error(kBad, "has no tensor \"b.weight\"", [&] { linear("b", 4, 172); });
  expect_error(kBad, "is F32 [4], by config.json it should be [3]", [&] { loader.load_vector("a.bias", 3); });
  expect_error(kBad, "is F32 [4, 172], by config.json it should be [172]",
               [&] { loader.load_vector("a.weight", 172); });
  expect_error(kBad, "has no tensor \"plain.bias\"", [&] {
    loader.load_linear({.parts = {{"a", 4}, {"plain", 4}}, .in_features = 172, .bias = true}, Storage::int8);
  });
  expect_error(kBad, "is I64 [4, 172]: octavo reads weights of F32, F16, BF16 and I8",
               [&] { linear("ids", 4, 172); });
  expect_error(kBad, "is I8 [4, 172], but config.json has no quantization_config",
               [&] { linear("codes", 4, 172); });
}

TEST_F(WeightLoaderTest, DamagedInt8LayersAreRefused) {
  const SampleValues codes = HostTensor(DType::i8, {4, 8}).fill_codes(3),
                     scale = HostTensor(DType::f32, {4, 1}).fill(0.5);
  write_model(folder,
              {{"no_scale.weight", codes},
               {"lm_head.weight", codes},
               {"lm_head.weight_scale", scale},
               {"short.weight", codes},
               {"short.weight_scale", HostTensor(DType::f32, {3, 1}).fill(1)},
               {"grouped.weight", codes},
               {"grouped.weight_scale", HostTensor(DType::f32, {4, 2}).fill(1)},
               {"zero.weight", codes},
               {"zero.weight_scale", scale},
               {"zero.weight_zero_point", HostTensor(DType::i8, {4, 1}).fill(0)},
               {"int.weight", codes},
               {"int.weight_scale", HostTensor(DType::i8, {4, 1}).fill(1)},
               {"vector", HostTensor(DType::i8, {4}).fill(1)}},
              kInt8Config);
  WeightLoader loader = open();
  const auto load = [&](const std::string& name) { loader.load_table(name, 4, 8, Storage::int8); };
  expect_error(kBad, "is I8 [4, 8], but there is no \"no_scale.weight_scale\"", [&] { load("no_scale"); });
  expect_error(kBad, "but quantization_config.ignore lists \"lm_head\"", [&] { load("lm_head"); });
  expect_error(kBad, "\"short.weight_scale\" is F32 [3, 1], by config.json it should be [4, 1]",
               [&] { load("short"); });
  expect_error(kBad, "\"grouped.weight_scale\" is F32 [4, 2], by config.json it should be [4, 1]",
               [&] { load("grouped"); });
  expect_error(kBad, "and has zero points", [&] { load("zero"); });
  expect_error(kBad, "\"int.weight_scale\" is I8 [4, 1], expected F32, F16 or BF16", [&] { load("int"); });
  expect_error(kBad, "\"vector\" is I8 [4], expected F32, F16 or BF16",
               [&] { loader.load_vector("vector", 4); });
}

TEST_F(WeightLoaderTest, UnusedTensorsAreNamed) {
  const SampleValues v = normal(DType::f32, {3}, 1);
  write_model(folder,
              {{"a", v}, {"b", v}, {"c", v}, {"lm_head.weight", v}, {"layers.0.rotary_emb.inv_freq", v}});
  WeightLoader loader = open();
  loader.load_vector("a", 3);
  loader.ignore("lm_head.weight");
  loader.ignore("not.there");
  EXPECT_EQ(loader.unused(), (std::vector<std::string>{"b", "c"}));
  expect_error(kBad, "2 tensors that the model of config.json does not use: \"b\", \"c\"",
               [&] { loader.finish(); });
  loader.load_vector("b", 3);
  loader.load_vector("c", 3);
  EXPECT_NO_THROW(loader.finish());
}

TEST_F(WeightLoaderTest, WidthBeyondTheExactRangeOfInt8IsRefusedByName) {
  write_model(folder, {{"a.weight", HostTensor(DType::f32, {1, 131072}).fill(1)},
                       {"b.weight", HostTensor(DType::f32, {1, 131071}).fill(1)}});
  WeightLoader loader = open();
  expect_error(kBad, "\"a.weight\" has 131072 input features, INT8 products allow 131071",
               [&] { loader.load_table("a", 1, 131072, Storage::int8); });
  EXPECT_EQ(loader.load_table("b", 1, 131071, Storage::int8).w_code_sum().as<int32_t>()[0], 127 * 131071);
  EXPECT_NO_THROW(loader.load_table("a", 1, 131072, Storage::floats));
}

TEST_F(WeightLoaderTest, MissingOrDamagedFolders) {
  expect_error(kBad, "no model.safetensors", [&] { open(); });
  write_tensors(folder / "model.safetensors", {{"a", normal(DType::f32, {3}, 1)}});
  expect_error(kBad, "config.json: cannot be opened: No such file", [&] { open(); });
  folder.write("config.json", "{");
  expect_error(kBad, "config.json: line 1, column 1: not valid JSON", [&] { open(); });
  folder.write("config.json", R"({"quantization_config": {"quant_method": "awq"}})");
  expect_error(kBad, "\"quantization_config.quant_method\" is \"awq\"", [&] { open(); });
  folder.write("config.json", "{}");
  EXPECT_NO_THROW(open());
  EXPECT_NO_THROW(WeightLoader::open(folder / "model.safetensors", ctx));
}

TEST_F(WeightLoaderTest, FileCutWhileLoadingIsAnError) {
  write_model(folder, {{"a.weight", normal(DType::f32, {64, 64}, 1)}});
  WeightLoader loader = open();
  ASSERT_EQ(truncate((folder / "model.safetensors").c_str(), 1000), 0);
  expect_error(kBad, "it was cut while being read", [&] { loader.load_table("a", 64, 64, Storage::int8); });
}

TEST_F(WeightLoaderTest, ProgressEndsAtTheSizeOfTheFile) {
  write_model(folder, {{"a.weight", normal(DType::f32, {64, 64}, 1)}, {"n", normal(DType::f32, {3}, 1)}});
  WeightLoader loader = open();
  std::vector<std::pair<int64_t, int64_t>> calls;
  loader.on_progress([&](int64_t done, int64_t total) { calls.emplace_back(done, total); });
  loader.load_table("a", 64, 64, Storage::int8);
  loader.load_vector("n", 3);
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls.back(), std::pair(int64_t{64 * 64 * 4 + 12}, int64_t{64 * 64 * 4 + 12}));
}

// A folder that llm-compressor or the compressed-tensors package made, when it is there.
TEST_F(WeightLoaderTest, LoadsTheGoldenCompressedTensorsFolder) {
  const std::filesystem::path golden =
      std::filesystem::path(OCTAVO_SOURCE_DIR) / "tests/goldens/compressed_tensors_int8";
  if (!std::filesystem::exists(golden)) GTEST_SKIP() << golden << " is not there";
  WeightLoader loader = WeightLoader::open(golden, ctx);
  EXPECT_TRUE(loader.file_is_quantized());
  int64_t quantized = 0;
  for (const TensorInfo* t : loader.files().tensors()) {
    if (t->name.ends_with(".weight_scale")) continue;
    if (t->shape.size() == 1) {
      loader.load_vector(t->name, t->shape[0]);
      continue;
    }
    const std::string module = t->name.substr(0, t->name.size() - std::string(".weight").size());
    const LinearWeight w = loader.load_table(module, t->shape[0], t->shape[1], Storage::int8);
    quantized += t->dtype == DType::i8;
    for (int64_t n = 0; n < w.out_features; ++n) ASSERT_GT(w.w_scale().as<float>()[n], 0.0f) << t->name;
  }
  EXPECT_GT(quantized, 0);
  loader.finish();
}

}  // namespace
}  // namespace octavo
