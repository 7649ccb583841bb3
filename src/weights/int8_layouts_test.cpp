// INT8 folders that others wrote: static activation scales, bitsandbytes, GGUF; and INT8 copies of GGUF files.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/quantizer.h"
#include "formats/sample_gguf.h"
#include "harness/expect_error.h"
#include "weights/checkpoint_writer.h"
#include "weights/sample_folder.h"
#include "weights/weight_loader.h"
#include "weights/widen.h"

namespace octavo {
namespace {

using harness::expect_error;
using harness::HostTensor;
using harness::TempFolder;
using Json = nlohmann::json;

constexpr ErrorKind kBad = ErrorKind::bad_model;
const std::string kBitsandbytes =
    R"({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true, "llm_int8_skip_modules": ["kept"]}})";
const std::filesystem::path kGguf = std::filesystem::path(OCTAVO_SOURCE_DIR) / "tests/goldens/gguf";

std::string static_config() {
  Json q = make_quantization_config({});
  Json& activations = q["config_groups"]["group_0"]["input_activations"];
  activations["strategy"] = "tensor", activations["dynamic"] = false;
  return Json{{"quantization_config", q}}.dump();
}

struct Int8Layouts : ::testing::Test {
  Context ctx;
  TempFolder folder;
  const SampleValues codes = HostTensor(DType::i8, {4, 8}).fill_codes(3);
  WeightLoader open() { return WeightLoader::open(folder.path(), ctx); }
  LinearWeight load(const std::string& name, Storage storage = Storage::int8) {
    return open().load_linear({.parts = {{name, 4}}, .in_features = 8}, storage);
  }
  static SampleValues row_scales(std::vector<float> values, std::vector<int64_t> shape) {
    HostTensor t(DType::f32, std::move(shape));
    for (size_t i = 0; i < values.size(); ++i) t.set(static_cast<int64_t>(i), values[i]);
    return t;
  }
};

TEST_F(Int8Layouts, StaticActivationScalesAreReadPast) {
  write_model(folder,
              {{"a.weight", codes},
               {"a.weight_scale", row_scales({0.5f}, {1})},
               {"a.input_scale", row_scales({0.1f}, {1})},
               {"a.input_zero_point", HostTensor(DType::i8, {1}).fill(0)}},
              static_config());
  WeightLoader loader = open();
  const LinearWeight w = loader.load_linear({.parts = {{"a", 4}}, .in_features = 8}, Storage::int8);
  loader.finish();
  for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(w.w_scale().as<float>()[i], 0.5f);
  for (int64_t i = 0; i < 32; ++i) EXPECT_EQ(w.w().as<int8_t>()[i / 8 * w.pitch() + i % 8], codes.get(i));
  EXPECT_EQ(w.name, "a");
  ASSERT_EQ(checkpoint_notes(folder.path()).size(), 1u);
  // A scale that belongs to no layer, or that a dynamic config does not announce, is not passed over.
  write_model(folder,
              {{"a.weight", codes},
               {"a.weight_scale", row_scales({0.5f}, {1})},
               {"a.input_scale", row_scales({0.1f}, {1})}},
              Json{{"quantization_config", make_quantization_config({})}}.dump());
  WeightLoader dynamic = open();
  dynamic.load_linear({.parts = {{"a", 4}}, .in_features = 8}, Storage::int8);
  expect_error(kBad, "does not use: \"a.input_scale\"", [&] { dynamic.finish(); });
}

TEST_F(Int8Layouts, ScalesThatAreNoScalesAreRefused) {
  for (const float bad : {NAN, INFINITY, -1.0f}) {
    write_model(folder, {{"a.weight", codes}, {"a.weight_scale", row_scales({1, 1, bad, 1}, {4, 1})}},
                static_config());
    expect_error(kBad, "\"a.weight_scale\" is F32 [4, 1], and its scale 2 is", [&] { load("a"); });
  }
}

// value = code * SCB / 127
TEST_F(Int8Layouts, BitsandbytesIsAScaleForEachRow) {
  const std::vector<float> scb = {1.5f, 0.25f, 3.0f, 0.0f};
  write_model(folder,
              {{"a.weight", codes},
               {"a.SCB", row_scales(scb, {4})},
               {"a.weight_format", HostTensor(DType::u8, {}).fill(0)},
               {"kept.weight", normal(DType::f16, {4, 8}, 2)}},
              kBitsandbytes);
  WeightLoader loader = open();
  EXPECT_TRUE(loader.file_is_quantized());
  const LinearWeight int8 = loader.load_linear({.parts = {{"a", 4}}, .in_features = 8}, Storage::int8);
  const LinearWeight floats = loader.load_linear({.parts = {{"a", 4}}, .in_features = 8}, Storage::floats);
  loader.load_linear({.parts = {{"kept", 4}}, .in_features = 8}, Storage::int8);
  loader.finish();
  for (int64_t r = 0; r < 4; ++r) {
    EXPECT_EQ(int8.w_scale().as<float>()[r], scb[static_cast<size_t>(r)] / 127.0f);
    for (int64_t k = 0; k < 8; ++k) {
      const auto code = static_cast<float>(codes.get(8 * r + k));
      EXPECT_EQ(int8.w().as<int8_t>()[r * int8.pitch() + k], code);
      EXPECT_EQ(floats.w().as<float>()[8 * r + k], code * (scb[static_cast<size_t>(r)] / 127.0f));
    }
  }
}

TEST_F(Int8Layouts, MalformedBitsandbytesIsRefused) {
  const SampleValues scb = row_scales({1, 1, 1, 1}, {4});
  struct Case {
    const char* message;
    std::vector<SampleTensor> tensors;
  };
  const std::vector<Case> cases = {
      {"\"a.weight\" is I8 [4, 8], but there is no \"a.SCB\"", {{"a.weight", codes}}},
      {"\"a.SCB\" is F32 [3], by config.json it should be [4]",
       {{"a.weight", codes}, {"a.SCB", row_scales({1, 1, 1}, {3})}}},
      {"\"a.SCB\" is F32 [4, 1], by config.json it should be [4]",
       {{"a.weight", codes}, {"a.SCB", row_scales({1, 1, 1, 1}, {4, 1})}}},
      {"\"a.SCB\" is I8 [4], expected F32",
       {{"a.weight", codes}, {"a.SCB", HostTensor(DType::i8, {4}).fill(1)}}},
      {"\"a.SCB\" is F32 [4], and its scale 1 is nan",
       {{"a.weight", codes}, {"a.SCB", row_scales({1, NAN, 1, 1}, {4})}}},
      {"and its scale 0 is -2", {{"a.weight", codes}, {"a.SCB", row_scales({-2, 1, 1, 1}, {4})}}},
      {"and its scale 3 is inf", {{"a.weight", codes}, {"a.SCB", row_scales({1, 1, 1, INFINITY}, {4})}}},
      {"\"a.weight_format\" is U8 [], and says 2: octavo reads weights stored row by row",
       {{"a.weight", codes}, {"a.SCB", scb}, {"a.weight_format", HostTensor(DType::u8, {}).fill(2)}}},
      {"\"a.weight_format\" is U8 [2], expected one U8",
       {{"a.weight", codes}, {"a.SCB", scb}, {"a.weight_format", HostTensor(DType::u8, {2}).fill(0)}}},
      {"\"a.weight_format\" is F32 [1], expected one U8",
       {{"a.weight", codes}, {"a.SCB", scb}, {"a.weight_format", row_scales({0}, {1})}}},
      {"\"a.weight\" is I8 [4, 9], by config.json it should be [4, 8]",
       {{"a.weight", HostTensor(DType::i8, {4, 9}).fill(1)}, {"a.SCB", scb}}},
      {"has no tensor \"a.weight\"", {{"a.SCB", scb}}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.message);
    write_model(folder, c.tensors, kBitsandbytes);
    expect_error(kBad, c.message, [&] { load("a"); });
  }
  write_model(folder, {{"kept.weight", codes}, {"kept.SCB", scb}}, kBitsandbytes);
  expect_error(kBad, "but quantization_config.llm_int8_skip_modules lists \"kept\"", [&] { load("kept"); });
}

struct Golden {
  SafetensorsFile file = SafetensorsFile::open(kGguf / "expected.safetensors");
  std::vector<float> operator[](const std::string& name) const {
    const TensorInfo* t = file.find(name);
    if (!t) throw std::runtime_error("no " + name);
    std::vector<float> values(static_cast<size_t>(t->bytes() / 4));
    file.read(*t, values.data());
    return values;
  }
};

// Every tensor type, as the gguf package dequantises it; Q and K in Hugging Face's order of rows.
TEST_F(Int8Layouts, GgufTensorsHaveTheValuesOfTheGgufPackage) {
  const Golden golden;
  WeightLoader loader = WeightLoader::open(kGguf / "tiny.gguf", ctx);
  int64_t compared = 0, blocks = 0;
  for (const TensorInfo* t : loader.files().tensors()) {
    if (!golden.file.find(t->name)) continue;
    const std::vector<float> expected = golden[t->name];
    ASSERT_EQ(read_as_floats(loader.files(), *t), expected) << t->name;
    ++compared;
    if (t->shape.size() != 2) continue;
    const std::string module = t->name.substr(0, t->name.rfind('.'));
    const int64_t rows = t->shape[0], width = t->shape[1];
    const LinearWeight floats = loader.load_table(module, rows, width, Storage::floats);
    const LinearWeight int8 = loader.load_table(module, rows, width, Storage::int8);
    EXPECT_EQ(floats.dtype, is_q8_0(*t) ? DType::f32 : *t->dtype);
    blocks += is_q8_0(*t);
    for (int64_t r = 0; r < rows; ++r) {
      float amax = 0;
      for (int64_t k = 0; k < width; ++k)
        amax = std::max(amax, std::abs(expected[static_cast<size_t>(r * width + k)]));
      const RowCoding coding = row_coding(amax);
      ASSERT_EQ(int8.w_scale().as<float>()[r], coding.scale);
      for (int64_t k = 0; k < width; ++k)
        ASSERT_EQ(int8.w().as<int8_t>()[r * int8.pitch() + k],
                  quantize(expected[static_cast<size_t>(r * width + k)], coding.inverse));
    }
  }
  EXPECT_GE(compared, 10);
  EXPECT_GE(blocks, 4);
  const auto notes = checkpoint_notes(kGguf / "tiny.gguf");
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes[0].find("are Q8_0"), std::string::npos);
}

TEST_F(Int8Layouts, GgufFilesBecomeInt8Folders) {
  const Golden golden;
  const auto to = folder / "int8";
  const CheckpointSummary summary =
      write_int8_checkpoint(kGguf / "tiny.gguf", to, ctx, {.extra_files = {{"tokenizer.json", "{}"}}});
  EXPECT_EQ(summary.quantized_tensors, 7);
  EXPECT_EQ(harness::content_of(to / "tokenizer.json"), "{}");
  EXPECT_EQ(read_model_config(to).integer("hidden_size"), 64);
  const TensorFolder files = TensorFolder::open(to);
  EXPECT_EQ(files.at("lm_head.weight").describe(), "F32 [307, 64]");  // Q8_0 that is not quantised anew
  EXPECT_EQ(read_as_floats(files, files.at("lm_head.weight")), golden["lm_head.weight"]);
  WeightLoader from_gguf = WeightLoader::open(kGguf / "tiny.gguf", ctx),
               from_folder = WeightLoader::open(to, ctx);
  for (const char* module : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
    const std::string name = std::string("model.layers.0.self_attn.") + module;
    const auto shape = files.at(name + ".weight").shape;
    const LinearWeight a = from_gguf.load_table(name, shape[0], shape[1], Storage::int8),
                       b = from_folder.load_table(name, shape[0], shape[1], Storage::int8);
    EXPECT_EQ(std::memcmp(a.elements.data(), b.elements.data(), static_cast<size_t>(a.elements.bytes())), 0)
        << name;
    EXPECT_EQ(std::memcmp(a.scales.data(), b.scales.data(), static_cast<size_t>(a.scales.bytes())), 0)
        << name;
  }
}

TEST_F(Int8Layouts, DamagedFloatsAreNotQuantised) {
  HostTensor w(DType::f32, {4, 8});
  w.fill(1);
  w.set(19, NAN);
  write_model(folder, {{"a.weight", w}});
  expect_error(kBad, "tensor \"a.weight\" holds NaN or Inf in row 2",
               [&] { write_int8_checkpoint(folder.path(), folder / "out", ctx); });
  EXPECT_FALSE(std::filesystem::exists(folder / "out"));
}

}  // namespace
}  // namespace octavo
