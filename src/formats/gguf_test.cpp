#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/dtype.h"
#include "formats/gguf_model.h"
#include "formats/sample_gguf.h"
#include "formats/tensor_folder.h"
#include "harness/expect_error.h"
#include "harness/random.h"
#include "harness/temp_folder.h"

namespace octavo {
namespace {

using harness::expect_error;
using harness::TempFolder;

constexpr ErrorKind kBad = ErrorKind::bad_model;
using B = GgufBuilder;

GgufHeader parse(const std::string& bytes) {
  const auto read = [&](int64_t offset, void* to, int64_t n) {
    ASSERT_LE(offset + n, static_cast<int64_t>(bytes.size()));
    std::memcpy(to, bytes.data() + offset, static_cast<size_t>(n));
  };
  return parse_gguf_header(read, static_cast<int64_t>(bytes.size()), "f.gguf");
}

std::string floats(size_t count) {
  std::string bytes;
  for (size_t i = 0; i < count; ++i) bytes += B::bytes_of(static_cast<float>(i) + 0.5f);
  return bytes;
}

B small() {
  B b;
  b.string("general.architecture", "llama")
      .u32("llama.block_count", 2)
      .f32("x.eps", 0.5f)
      .boolean("x.flag", true);
  b.strings("x.names", {"a", "", "\xe2\x96\x81"})
      .numbers<int32_t>("x.types", 5, {1, -3})
      .raw("x.i64", 11, B::bytes_of<int64_t>(-9));
  b.tensor("b", B::kF32, {3, 2}, floats(6)).tensor("a", B::kF16, {4}, std::string(8, '\1'));
  return b;
}

TEST(Gguf, ReadsMetadataAndTensors) {
  for (const uint32_t version : {2u, 3u}) {
    B b = small();
    b.version = version;
    const GgufHeader h = parse(b.build());
    EXPECT_EQ(h.version, version);
    EXPECT_EQ(h.metadata.string("general.architecture"), "llama");
    EXPECT_EQ(h.metadata.integer("llama.block_count"), 2);
    EXPECT_EQ(h.metadata.number("x.eps", 0, 1), 0.5);
    EXPECT_TRUE(h.metadata.boolean("x.flag"));
    EXPECT_EQ(h.metadata.strings("x.names"), (std::vector<std::string>{"a", "", "\xe2\x96\x81"}));
    EXPECT_EQ(h.metadata.integers("x.types", -9), (std::vector<int64_t>{1, -3}));
    EXPECT_EQ(h.metadata.integer("x.i64", -9), -9);
    ASSERT_EQ(h.tensors.size(), 2u);
    EXPECT_EQ(h.tensors[0].name, "b");
    EXPECT_EQ(h.tensors[0].describe(), "F32 [3, 2]");
    EXPECT_EQ(h.tensors[1].begin, 32);
    EXPECT_EQ(h.tensors[1].dtype, DType::f16);
    EXPECT_EQ(h.data_begin % 32, 0);
  }
}

TEST(Gguf, OtherAlignmentsAndNoTensorsAtAll) {
  B b;
  b.alignment = 64;
  b.u32("general.alignment", 64).tensor("a", B::kF32, {1}, floats(1)).tensor("b", B::kBF16, {2}, "1234");
  const GgufHeader h = parse(b.build());
  EXPECT_EQ(h.data_begin % 64, 0);
  EXPECT_EQ(h.tensors[1].begin, 64);
  EXPECT_TRUE(parse(B().build()).tensors.empty());
  EXPECT_NO_THROW(parse(b.build() + std::string(60, '\0')));  // padding behind the last tensor
}

TEST(Gguf, ReadsTensorsByPosition) {
  TempFolder folder;
  const GgufFile file = GgufFile::open(folder.write("m.gguf", small().build()));
  float values[3];
  file.read(*file.find("b"), 12, values, 12);
  EXPECT_EQ(values[0], 3.5f);
  EXPECT_EQ(values[2], 5.5f);
  EXPECT_EQ(file.find("c"), nullptr);
  expect_error(ErrorKind::usage, "tensor \"b\": 24 bytes from byte 4 on asked for, it has 24",
               [&] { file.read(*file.find("b"), 4, values, 24); });
}

TEST(Gguf, DequantisesQ8_0) {
  std::string block = B::bytes_of(to_f16(0.25f));
  for (int i = 0; i < 32; ++i) block += static_cast<char>(4 * i - 128);
  float values[64];
  dequantize_q8_0((block + block).data(), values, 64);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(values[i], 0.25f * static_cast<float>(4 * (i % 32) - 128));
}

TEST(Gguf, MalformedFilesAreRefused) {
  struct Case {
    const char* message;
    std::string bytes;
  };
  const std::string good = small().build();
  const auto with = [](auto&& change) {
    B b = small();
    change(b);
    return b.build();
  };
  const auto tensor = [](uint32_t type, const std::vector<uint64_t>& shape, int64_t offset = -1) {
    B b;
    b.tensor("t", type, shape, floats(8), offset);
    return b.build();
  };
  constexpr uint64_t kHuge = uint64_t{1} << 62;
  const std::vector<Case> cases = {
      {"ends inside the magic bytes", ""},
      {"ends inside the number of tensors", good.substr(0, 11)},
      {"begins with \"GGML\", expected \"GGUF\"", with([](B& b) { b.magic = "GGML"; })},
      {"is GGUF version 1; octavo reads versions 2 and 3", with([](B& b) { b.version = 1; })},
      {"is GGUF version 4", with([](B& b) { b.version = 4; })},
      {"is big-endian", with([](B& b) { b.version = 3u << 24; })},
      {"metadata entries from byte 24 on cannot fit", with([](B& b) { b.extra_entries = kHuge; })},
      {"the name of tensor 0 has", with([](B& b) { b.extra_entries = 1; })},  // takes a tensor for an entry
      {"tensors from byte", with([](B& b) { b.extra_tensors = kHuge; })},
      {"tensor \"\" has 0 dimensions", with([](B& b) { b.extra_tensors = 1; })},
      {"duplicate key \"llama.block_count\"", with([](B& b) { b.u32("llama.block_count", 3); })},
      {"metadata entry 7 has an empty key", with([](B& b) { b.u32("", 3); })},
      {"metadata \"t\" is of type 13, known are 0 to 12", with([](B& b) { b.raw("t", 13, ""); })},
      {"metadata \"t\" is an array of arrays", with([](B& b) { b.array("t", 9, 1, std::string(12, '\0')); })},
      {"items of metadata \"t\" from byte", with([](B& b) { b.array("t", 0, kHuge, ""); })},
      {"metadata \"t\" brings the array items to",
       with([](B& b) { b.array("t", 0, 4'000'001, std::string(4'000'001, 'x')); })},
      {"metadata \"t\" is a truth value of 2", with([](B& b) { b.raw("t", 7, "\2"); })},
      {"metadata \"t\" has 4611686018427387904 bytes, the limit is",
       with([](B& b) { b.raw("t", 8, B::bytes_of(kHuge)); })},
      {"\"general.alignment\" is 0", with([](B& b) { b.u32("general.alignment", 0); })},
      {"\"general.alignment\" is 1,", with([](B& b) { b.u32("general.alignment", 1); })},
      {"\"general.alignment\" is 24, expected a power of two",
       with([](B& b) { b.u32("general.alignment", 24); })},
      {"\"general.alignment\" is 2147483648", with([](B& b) { b.u32("general.alignment", 1u << 31); })},
      {"tensor \"t\" has 0 dimensions, expected 1 to 4", tensor(B::kF32, {})},
      {"tensor \"t\" has 5 dimensions", tensor(B::kF32, {1, 1, 1, 1, 1})},
      {"tensor \"t\": dimension 1 is 0", tensor(B::kF32, {0, 8})},
      {"tensor \"t\": dimension 0 is 9223372036854775808", tensor(B::kF32, {uint64_t{1} << 63})},
      {"F32 [4611686018427387904, 8] has no valid size", tensor(B::kF32, {kHuge, 8})},
      {"Q8_0 [4611686018427387904, 32] has no valid size", tensor(B::kQ8_0, {kHuge, 32})},
      {"tensor \"t\" is Q4_K: octavo reads GGUF tensors of F32, F16, BF16 and Q8_0", tensor(B::kQ4K, {256})},
      {"of the unknown type 99", tensor(99, {256})},
      {"rows of Q8_0 must be a multiple of 32", tensor(B::kQ8_0, {2, 33})},
      {"tensor \"t\" begins at byte 4 of the data, which is no multiple of the alignment 32",
       tensor(B::kF32, {8}, 4)},
      {"its data begins at byte 32, expected 0: there is a hole", tensor(B::kF32, {8}, 32)},
      {"bytes from byte 9223372036854775776 on end beyond",
       tensor(B::kF32, {8}, std::numeric_limits<int64_t>::max() - 31)},
      {"tensors overlap", with([](B& b) { b.tensor("c", B::kF32, {8}, floats(8), 0); })},
      {"two tensors are called \"a\"", with([](B& b) { b.tensor("a", B::kF32, {8}, floats(8)); })},
      {"it has bytes that belong to no tensor", good + std::string(64, '\0')},
      {"it is cut off", good.substr(0, good.size() - 1)},
      {"it is cut off", tensor(B::kF32, {uint64_t{1} << 40})},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.message);
    expect_error(kBad, c.message, [&] { parse(c.bytes); });
    expect_error(kBad, "f.gguf", [&] { parse(c.bytes); });
  }
}

TEST(Gguf, EveryCutAndFlippedByteIsRefusedOrRead) {
  const std::string good = small().build();
  for (size_t n = 0; n < good.size(); ++n) EXPECT_THROW(parse(good.substr(0, n)), Error) << n << " bytes";
  for (size_t i = 0; i < good.size(); ++i)
    for (const int bit : {0, 5, 7}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      try {
        parse(bad);
      } catch (const Error&) {
      }
    }
}

// A llama of 1 layer, 2 query heads and 1 KV head of 4, width 8; row r of Q holds the value r in its first column.
B llama(bool with_output = true) {
  B b;
  b.string("general.architecture", "llama").u32("llama.context_length", 64).u32("llama.embedding_length", 8);
  b.u32("llama.block_count", 1).u32("llama.feed_forward_length", 12).u32("llama.attention.head_count", 2);
  b.u32("llama.attention.head_count_kv", 1).f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  b.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 2);
  std::string q, k;
  for (int r = 0; r < 8; ++r) q += B::bytes_of(static_cast<float>(r)) + std::string(28, '\0');
  for (int r = 0; r < 4; ++r) k += B::bytes_of(static_cast<float>(r)) + std::string(28, '\0');
  b.tensor("token_embd.weight", B::kF32, {10, 8}, floats(80));
  b.tensor("blk.0.attn_q.weight", B::kF32, {8, 8}, q).tensor("blk.0.attn_k.weight", B::kF32, {4, 8}, k);
  b.tensor("blk.0.attn_norm.weight", B::kF32, {8}, floats(8));
  if (with_output) b.tensor("output.weight", B::kF32, {10, 8}, floats(80));
  return b;
}

struct GgufModel : ::testing::Test {
  TempFolder folder;
  ConfigObject config(const B& b) { return read_model_config(folder.write("m.gguf", b.build())); }
  void refused(const B& b, const std::string& message) {
    const auto path = folder.write("m.gguf", b.build());
    expect_error(kBad, message, [&] { read_model_config(path), TensorFolder::open(path); });
  }
};

TEST_F(GgufModel, ConfigSpeaksHuggingFace) {
  const ConfigObject c = config(llama());
  EXPECT_EQ(c.strings("architectures"), std::vector<std::string>{"LlamaForCausalLM"});
  EXPECT_EQ(c.integer("hidden_size"), 8);
  EXPECT_EQ(c.integer("num_key_value_heads"), 1);
  EXPECT_EQ(c.integer("head_dim"), 4);
  EXPECT_EQ(c.integer("vocab_size"), 10);
  EXPECT_EQ(c.integers("eos_token_id"), std::vector<int64_t>{2});
  EXPECT_FALSE(c.boolean("tie_word_embeddings"));
  EXPECT_FALSE(c.has("rope_scaling"));
  EXPECT_TRUE(config(llama(false)).boolean("tie_word_embeddings"));
}

TEST_F(GgufModel, RotaryRowsComeInHuggingFaceOrder) {
  const TensorFolder files = TensorFolder::open(folder.write("m.gguf", llama().build()));
  const TensorInfo& q = files.at("model.layers.0.self_attn.q_proj.weight");
  float values[64];
  files.read(q, values);
  // Rows 0..3 of a head of the file are Hugging Face's rows 0, 2, 1, 3.
  const float expected[8] = {0, 2, 1, 3, 4, 6, 5, 7};
  for (int r = 0; r < 8; ++r) EXPECT_EQ(values[8 * r], expected[r]) << r;
  for (const int64_t offset : {0, 4, 28, 30, 64}) {  // any range of bytes gives the same bytes
    std::string part(100, '\0');
    files.read(q, offset, part.data(), 100);
    EXPECT_EQ(std::memcmp(part.data(), reinterpret_cast<const char*>(values) + offset, 100), 0) << offset;
  }
  EXPECT_EQ(files.at("model.layers.0.input_layernorm.weight").shape, std::vector<int64_t>{8});
  EXPECT_TRUE(files.reads_from(folder / "m.gguf"));
}

TEST_F(GgufModel, QwenIsNotPermuted) {
  B b;
  b.string("general.architecture", "qwen2").u32("qwen2.attention.head_count", 2);
  b.tensor("blk.0.attn_q.weight", B::kF32, {4, 2}, floats(8));
  const TensorFolder files = TensorFolder::open(folder.write("m.gguf", b.build()));
  float values[8];
  files.read(files.at("model.layers.0.self_attn.q_proj.weight"), values);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(values[i], static_cast<float>(i) + 0.5f);
}

TEST_F(GgufModel, RopeScalingIsReadOrRecovered) {
  EXPECT_EQ(config(llama().string("llama.rope.scaling.type", "linear").f32("llama.rope.scaling.factor", 4))
                .json()
                .at("rope_scaling"),
            (nlohmann::json{{"rope_type", "linear"}, {"factor", 4.0}}));
  EXPECT_EQ(config(llama()
                       .string("llama.rope.scaling.type", "yarn")
                       .f32("llama.rope.scaling.factor", 8)
                       .u32("llama.rope.scaling.original_context_length", 32))
                .json()
                .at("rope_scaling")
                .at("rope_type"),
            "yarn");
  // Head size 4, theta 10000: wavelengths 2 pi and 628; with 8192 positions both are short (factor 1), so that the rule
  // with factor 1 is all that fits; theta 1e12 makes the second one long.
  B short_waves = llama();
  short_waves.tensor("rope_freqs.weight", B::kF32, {2}, B::bytes_of(1.0f) + B::bytes_of(1.0f));
  EXPECT_EQ(config(short_waves).json().at("rope_scaling").at("factor"), 1.0);
  B long_waves = llama();
  long_waves.f32("llama.rope.freq_base", 1e12f);
  long_waves.tensor("rope_freqs.weight", B::kF32, {2}, B::bytes_of(1.0f) + B::bytes_of(32.0f));
  const auto scaling = config(long_waves).json().at("rope_scaling");
  EXPECT_EQ(scaling.at("rope_type"), "llama3");
  EXPECT_EQ(scaling.at("factor"), 32.0);
  B strange = llama();
  strange.tensor("rope_freqs.weight", B::kF32, {2}, B::bytes_of(1.0f) + B::bytes_of(3.0f));
  refused(strange, "octavo does not know this frequency scaling");
  B wrong_size = llama();
  wrong_size.tensor("rope_freqs.weight", B::kF32, {4}, floats(4));
  refused(wrong_size, "tensor \"rope_freqs.weight\" is F32 [4], expected F32 [2]");
}

TEST_F(GgufModel, WhatIsNotUnderstoodIsRefusedByName) {
  B other;
  other.string("general.architecture", "falcon");
  refused(other,
          "architecture \"falcon\" is unknown to octavo's GGUF reader; known are: llama, qwen2, qwen3");
  refused(llama().f32("llama.logit_scale", 2),
          "\"llama.logit_scale\" is 2.0, expected nothing: octavo does not know this key");
  refused(llama().u32("llama.expert_count", 8), "\"llama.expert_count\" is 8, expected 0");
  refused(llama().u32("llama.rope.dimension_count", 2), "\"llama.rope.dimension_count\" is 2, expected 4");
  refused(llama().string("llama.rope.scaling.type", "su"), "\"llama.rope.scaling.type\" is \"su\"");
  refused(llama().u32("split.count", 3), "\"split.count\" is 3, expected 1");
  B unknown = llama();
  unknown.tensor("blk.0.ssm_in.weight", B::kF32, {1}, floats(1));
  refused(unknown, "tensor \"blk.0.ssm_in.weight\" is none that octavo knows of a llama model");
  for (const char* name : {"blk.00.attn_q.weight", "blk.-1.attn_q.weight", "blk.attn_q.weight",
                           "attn_q.weight", "token_embd", "blk.1.attn_q.scale", "blk.999999.attn_q.weight"}) {
    B b = llama();
    b.tensor(name, B::kF32, {8, 8}, floats(64));
    refused(b, "is none that octavo knows");
  }
  B none;
  none.string("general.architecture", "llama")
      .u32("llama.embedding_length", 8)
      .u32("llama.attention.head_count", 2);
  refused(none, "has no matrix \"token_embd.weight\"");
  B uneven = llama();
  uneven.tensor("blk.1.attn_q.weight", B::kF32, {6, 8}, floats(48));
  refused(uneven, "its rows are no multiple of 2 x 2 heads");
}

}  // namespace
}  // namespace octavo
