// At least ten files of every format that octavo reads from strangers, each damaged or contradictory in its own way. Each
// is written into a model folder and opened as the program opens it: the reason is said, and the file is named. (Tests
// beside the readers have more of them: cut, flipped and mutated bytes, sizes against a 128-bit oracle.)
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "formats/sample_gguf.h"
#include "formats/tensor_folder.h"
#include "harness/expect_error.h"
#include "harness/temp_folder.h"
#include "model/model_config.h"
#include "tokenizer/sample_sentencepiece.h"
#include "tokenizer/tokenizer.h"
#include "weights/quantization_config.h"
#include "weights/sample_folder.h"
#include "weights/weight_loader.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using harness::HostTensor;
using harness::TempFolder;
using Json = nlohmann::json;

struct Malformed {
  std::string bytes;   // of the file, instead of the sound ones
  std::string reason;  // what the message must say
};

struct Format {
  std::string file;
  std::string sound;
  std::function<void(const fs::path& folder)> open;
  std::vector<Malformed> malformed;
};

// The sound file opens; none of the malformed ones does.
void expect_all_refused(const TempFolder& folder, const Format& format) {
  folder.write(format.file, format.sound);
  ASSERT_NO_THROW(format.open(folder.path()));
  EXPECT_GE(format.malformed.size(), 10u);
  for (const auto& [bytes, reason] : format.malformed) {
    SCOPED_TRACE(reason);
    folder.write(format.file, bytes);
    const auto open = [&] { format.open(folder.path()); };
    harness::expect_error(ErrorKind::bad_model, reason, open);
    harness::expect_error(ErrorKind::bad_model, folder.path().string(), open);
  }
}

// `sound` with the value at `pointer` replaced.
std::string with(Json sound, const std::string& pointer, Json value) {
  sound[Json::json_pointer(pointer)] = std::move(value);
  return sound.dump();
}
std::string without(Json sound, const std::string& key) {
  sound.erase(key);
  return sound.dump();
}

// ---- safetensors

std::string safetensors(const std::string& header, const std::string& data) {
  return GgufBuilder::bytes_of<uint64_t>(header.size()) + header + data;
}

TEST(MalformedFiles, Safetensors) {
  const auto one = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return safetensors(
        R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}",
        "12345678");
  };
  const std::string sound = one("F32", "[2]", "[0,8]");
  const auto two = [](const std::string& second) {
    return safetensors(
        R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],)" + second +
            "}}",
        "12345678");
  };
  TempFolder folder;
  expect_all_refused(
      folder,
      {.file = "model.safetensors",
       .sound = sound,
       .open = [](const fs::path& path) { TensorFolder::open(path); },
       .malformed = {
           {"", "0 bytes, a safetensors file has at least 8"},
           {sound.substr(0, 7), "7 bytes, a safetensors file has at least 8"},
           {sound.substr(0, 40), "header of 54 bytes is larger than the file, 40 bytes"},
           {sound.substr(0, sound.size() - 1),
            "the tensors take 8 bytes, the file has 7 after its header: it is cut off"},
           {sound + "x",
            "the tensors take 8 bytes, the file has 9 after its header: it has bytes that belong to no "
            "tensor"},
           {GgufBuilder::bytes_of(UINT64_MAX) + "{}",
            "header of 18446744073709551615 bytes, the limit is 100000000: not a safetensors file?"},
           {safetensors("[]", ""), "the safetensors header must begin with '{'"},
           {safetensors("{\"t\":", ""), "line 1, column 5: not valid JSON"},
           {one("F128", "[2]", "[0,8]"), R"(tensor "t": unknown dtype "F128")"},
           {one("F32", "[3]", "[0,8]"),
            R"(tensor "t": F32 [3] takes 12 bytes, its data_offsets [0, 8] span 8)"},
           {one("F32", "[-2]", "[0,8]"),
            R"(line 1, column 32: tensor "t": the number -2 does not belong here in a safetensors header)"},
           {one("F32", "[4611686018427387906]", "[0,8]"),
            R"(tensor "t": F32 [4611686018427387906] has no valid size (above 2^63 - 1 bytes, or not whole bytes))"},
           {one("F32", "[2]", "[8,0]"), R"(tensor "t": data_offsets [8, 0] run backwards)"},
           {two("\"data_offsets\":[2,6]"),
            R"(tensor "b": its data begins at byte 2, expected 4: tensors overlap)"},
           {two("\"data_offsets\":[5,9]"),
            R"(tensor "b": its data begins at byte 5, expected 4: there is a hole between tensors)"},
           {two("\"offsets\":[4,8]"),
            R"(line 1, column 92: tensor "b": unknown key "offsets", expected dtype, shape and data_offsets)"},
       }});
}

// ---- shard index

TEST(MalformedFiles, ShardIndex) {
  TempFolder folder;
  const SampleValues values = HostTensor(DType::f32, {2}).fill(1);
  write_tensors(folder / "s1.safetensors", {{"a", values}, {"b", values}});
  write_tensors(folder / "s2.safetensors", {{"c", values}});
  const Json sound = {
      {"weight_map", {{"a", "s1.safetensors"}, {"b", "s1.safetensors"}, {"c", "s2.safetensors"}}}};
  const auto shard_of_c = [&](Json shard) { return with(sound, "/weight_map/c", std::move(shard)); };
  expect_all_refused(
      folder,
      {.file = "model.safetensors.index.json",
       .sound = sound.dump(),
       .open = [](const fs::path& path) { TensorFolder::open(path); },
       .malformed = {
           {"", "line 1, column 1: not valid JSON"},
           {sound.dump().substr(0, 30), "line 1, column 30: not valid JSON"},
           {"[]", "holds [], expected a JSON object"},
           {"{}", R"("weight_map" is missing, expected an object)"},
           {R"({"weight_map": ["s1.safetensors"]})",
            R"("weight_map" is ["s1.safetensors"], expected an object)"},
           {R"({"weight_map": {"a": "s1.safetensors", "a": "s2.safetensors"}})",
            R"(line 1, column 42: duplicate key "a")"},
           {shard_of_c(2), R"("weight_map.c" is 2, expected the file name of a shard)"},
           {shard_of_c("../s2.safetensors"),
            R"(shard name "../s2.safetensors" leads outside the folder; it must be a plain file name)"},
           {shard_of_c(""), R"(shard name "" leads outside the folder; it must be a plain file name)"},
           {shard_of_c("s3.safetensors"), "cannot be opened: No such file or directory"},
           {shard_of_c("s1.safetensors"), R"(tensor "c" is not in s1.safetensors)"},
           {with(sound, "/weight_map/d", "s2.safetensors"), R"(tensor "d" is not in s2.safetensors)"},
           {R"({"weight_map": {"a": "s1.safetensors", "c": "s2.safetensors"}})",
            R"(tensor "b" of s1.safetensors is not listed)"},
           {with(sound, "/metadata", Json::parse("[[[[[[[[[[1]]]]]]]]]]")),
            "line 1, column 20: nested deeper than 8 levels"},
       }});
}

// ---- config.json

TEST(MalformedFiles, ConfigJson) {
  const Json sound = {{"architectures", {"LlamaForCausalLM"}},
                      {"hidden_size", 64},
                      {"num_hidden_layers", 2},
                      {"num_attention_heads", 4},
                      {"num_key_value_heads", 2},
                      {"intermediate_size", 96},
                      {"vocab_size", 100},
                      {"eos_token_id", 2}};
  TempFolder folder;
  expect_all_refused(
      folder,
      {.file = "config.json",
       .sound = sound.dump(),
       .open = [](const fs::path& path) { ModelConfig::load(path.string()); },
       .malformed = {
           {"", "line 1, column 1: not valid JSON"},
           {sound.dump().substr(0, 50), "line 1, column 50: not valid JSON"},
           {"[1]", "holds [1], expected a JSON object"},
           {std::string(1000, '[') + std::string(1000, ']'),
            "line 1, column 65: nested deeper than 64 levels"},
           {R"({"hidden_size": 64, "hidden_size": 65})", R"(line 1, column 33: duplicate key "hidden_size")"},
           {without(sound, "architectures"),
            R"("architectures" is missing, expected the name of one; octavo knows LlamaForCausalLM)"},
           {with(sound, "/architectures", {"FalconForCausalLM"}),
            R"(architecture "FalconForCausalLM" is unknown to octavo; known are: LlamaForCausalLM)"},
           {with(sound, "/architectures", "LlamaForCausalLM"),
            R"("architectures" is "LlamaForCausalLM", expected an array of strings)"},
           {without(sound, "hidden_size"),
            R"("hidden_size" is missing, expected an integer from 1 to 2147483647)"},
           {with(sound, "/hidden_size", "64"),
            R"("hidden_size" is "64", expected an integer from 1 to 2147483647)"},
           {with(sound, "/hidden_size", 64.5),
            R"("hidden_size" is 64.5, expected an integer from 1 to 2147483647)"},
           {with(sound, "/vocab_size", -100),
            R"("vocab_size" is -100, expected an integer from 1 to 2147483647)"},
           {with(sound, "/num_hidden_layers", 20000),
            R"("num_hidden_layers" is 20000, expected an integer from 1 to 10000)"},
           {with(sound, "/num_attention_heads", 5),
            R"("num_key_value_heads" is 2, expected a divisor of num_attention_heads = 5)"},
           {with(sound, "/num_key_value_heads", 3),
            R"("num_key_value_heads" is 3, expected a divisor of num_attention_heads = 4)"},
           {with(sound, "/head_dim", 7),
            R"("head_dim" is 7, expected an even number of rotated elements (rotary embedding pairs them), it gives 7 of 7)"},
           {with(sound, "/eos_token_id", 100),
            R"("eos_token_id" is 100, expected ids below vocab_size = 100)"},
           {with(sound, "/rms_norm_eps", -1e-6),
            R"("rms_norm_eps" is -1e-06, expected a number from 0 to 1)"},
           {with(sound, "/rope_theta", 0), R"("rope_theta" is 0, expected a number from 1 to 1000000000000)"},
           {with(sound, "/hidden_act", "relu"), R"("hidden_act" is "relu", expected "silu")"},
           {with(sound, "/rope_scaling", {{"rope_type", "spiral"}}),
            R"("rope_scaling.rope_type" is "spiral", expected one of: default, linear, dynamic, yarn, llama3, longrope)"},
       }});
}

// ---- tokenizer.json

TEST(MalformedFiles, TokenizerJson) {
  const Json sound = {{"version", "1.0"},
                      {"added_tokens", {{{"id", 4}, {"content", "<s>"}, {"special", true}}}},
                      {"model",
                       {{"type", "BPE"},
                        {"unk_token", "<unk>"},
                        {"vocab", {{"<unk>", 0}, {"a", 1}, {"b", 2}, {"ab", 3}}},
                        {"merges", {"a b"}}}}};
  std::string twice = sound.dump();
  twice.replace(twice.find("\"a\":1"), 5, "\"a\":1,\"a\":5");
  TempFolder folder;
  expect_all_refused(
      folder,
      {.file = "tokenizer.json",
       .sound = sound.dump(),
       .open = [](const fs::path& path) { Tokenizer::load(path); },
       .malformed = {
           {"", "line 1, column 1: not valid JSON"},
           {sound.dump().substr(0, 60), "line 1, column 60: not valid JSON"},
           {"[]", "is an array, expected an object"},
           {std::string(100000, '['), "line 1, column 65: nested deeper than 64 levels"},
           {without(sound, "model"), R"("model" is missing)"},
           {twice, R"(line 1, column 145: duplicate key "a")"},
           {with(sound, "/version", "2.0"), R"(version: "2.0" is not supported, expected "1.0")"},
           {with(sound, "/model/type", "Magic"),
            R"(model: model "Magic" is not supported (BPE, WordPiece, WordLevel, Unigram))"},
           {with(sound, "/model/vocab/a", 2), R"(model.vocab: id 2 belongs to both "a" and "b")"},
           {with(sound, "/model/vocab/a", -1), R"(model.vocab: token "a" has id -1, outside 0 to 2097151)"},
           {with(sound, "/model/merges/0", "a c"), R"(model.merges[0]: token "c" is not in the vocabulary)"},
           {with(sound, "/model/merges/0", "a b b"),
            R"(model.merges[0]: "a b b" is not two tokens with a space between)"},
           {with(sound, "/model/byte_fallback", true),
            "model.vocab: byte_fallback needs a token for each of the 256 bytes, <0x00> is missing"},
           {with(sound, "/added_tokens/0/id", -4),
            "added_tokens[0].id: is -4, expected an integer from 0 to 2097151"},
           {with(sound, "/added_tokens/0", Json{{"id", 4}}), R"(added_tokens[0]: "content" is missing)"},
           {with(sound, "/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "/////w=="}}),
            "normalizer.precompiled_charsmap: a trie of 4294967295 bytes where 0 are left; it must be a "
            "multiple of 4"},
           {with(sound, "/pre_tokenizer",
                 {{"type", "Split"},
                  {"pattern", {{"Regex", "("}}},
                  {"behavior", "Isolated"},
                  {"invert", false}}),
            R"(pre_tokenizer.pattern: regular expression "(": a group that is not closed is not supported)"},
           {with(sound, "/decoder", {{"type", "Odd"}}), R"(decoder: decoder "Odd" is not supported)"},
       }});
}

// ---- SentencePiece

TEST(MalformedFiles, SentencePiece) {
  const std::string sound = sample_sentencepiece().bytes;
  const auto and_piece = [](const std::string& text, float score = 0, int type = 1) {
    return sample_sentencepiece().text(1, sample_piece(text, score, type)).bytes;
  };
  const auto and_part = [](uint32_t part, const ProtobufBytes& message) {
    return sample_sentencepiece().text(part, message.bytes).bytes;
  };
  TempFolder folder;
  expect_all_refused(
      folder,
      {.file = "tokenizer.model",
       .sound = sound,
       .open = [](const fs::path& path) { Tokenizer::load(path); },
       .malformed = {
           {"", "no pieces: this is no SentencePiece model"},
           {"IQ== 0\nIg== 1\n", "no pieces: this is no SentencePiece model"},  // a vocabulary of tiktoken
           {sound.substr(0, sound.size() - 1),
            "no protocol buffer of SentencePiece (a field of 2 bytes where 1 are left)"},
           {sound + "\x0b", "no protocol buffer of SentencePiece (wire type 3)"},
           {sound + "\x08" + std::string(11, '\xff'),
            "no protocol buffer of SentencePiece (a number of more than 64 bits)"},
           {and_piece(""), R"(piece 7 (""): is empty)"},
           {and_piece("a"), R"(pieces: token "a" has both id 3 and 7)"},
           {and_piece("\xc3"), R"(piece 7 ("\xc3"): is no UTF-8)"},
           {and_piece(std::string(513, 'a')), "has 513 bytes, at most 512"},
           {and_piece("c", std::nanf("")), R"(piece 7 ("c"): score nan)"},
           {and_piece("c", 0, 9), R"(piece 7 ("c"): type 9 is not known (1 to 6))"},
           {and_piece("c", 0, 2), "2 pieces of type unknown, expected 1"},
           {and_piece("ac"), R"(piece 7 ("ac"): its character "c" is no piece, which is not supported)"},
           {sample_sentencepiece(4).bytes, "model_type 4 is not supported (1 unigram, 2 bpe)"},
           {and_part(2, ProtobufBytes().number(35, 1)),
            "byte_fallback needs a token for each of the 256 bytes, <0x00> is missing"},
           {and_part(3, ProtobufBytes().text(2, "abc")),
            "precompiled_charsmap: 3 bytes hold no size of a trie"},
           {and_part(5, ProtobufBytes().text(2, "abc")), "a denormalizer_spec with rules is not supported"},
       }});
}

// ---- GGUF

GgufBuilder gguf() {
  GgufBuilder b;
  b.string("general.architecture", "llama").u32("llama.context_length", 64).u32("llama.embedding_length", 8);
  b.u32("llama.block_count", 1).u32("llama.feed_forward_length", 12).u32("llama.attention.head_count", 2);
  b.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  b.tensor("token_embd.weight", GgufBuilder::kF32, {10, 8}, std::string(320, '\0'));
  return b;
}

TEST(MalformedFiles, Gguf) {
  using B = GgufBuilder;
  const std::string sound = gguf().build();
  const auto changed = [](auto&& change) {
    B b = gguf();
    change(b);
    return b.build();
  };
  const auto and_tensor = [&](uint32_t type, const std::vector<uint64_t>& shape, int64_t offset = -1) {
    return changed([&](B& b) { b.tensor("output.weight", type, shape, std::string(32, '\0'), offset); });
  };
  TempFolder folder;
  expect_all_refused(
      folder,
      {.file = "model.gguf",
       .sound = sound,
       .open =
           [](const fs::path& path) {
             ModelConfig::load((path / "model.gguf").string());
             TensorFolder::open(path / "model.gguf");
           },
       .malformed = {
           {"", "ends inside the magic bytes at byte 0: the file is cut off or its header too large"},
           {sound.substr(0, 20),
            "ends inside the number of metadata entries at byte 20: the file is cut off or its header too "
            "large"},
           {sound.substr(0, sound.size() - 1),
            R"(tensor "token_embd.weight": its data ends at byte 320, the file has 319 after its header: it is cut off)"},
           {sound + std::string(64, '\0'),
            "the tensors take 320 bytes, the file has 384 after its header: it has bytes that belong to no "
            "tensor"},
           {changed([](B& b) { b.magic = "GGML"; }), R"(begins with "GGML", expected "GGUF")"},
           {changed([](B& b) { b.version = 1; }), "is GGUF version 1; octavo reads versions 2 and 3"},
           {changed([](B& b) { b.version = 3u << 24; }),
            "is big-endian; octavo reads little-endian GGUF files"},
           {changed([](B& b) { b.extra_entries = uint64_t{1} << 62; }),
            "4611686018427387911 metadata entries from byte 24 on cannot fit: 680 bytes are left"},
           {changed([](B& b) { b.extra_tensors = uint64_t{1} << 62; }),
            "4611686018427387905 tensors from byte 313 on cannot fit: 391 bytes are left"},
           {changed([](B& b) { b.u32("llama.block_count", 3); }),
            R"(duplicate key "llama.block_count" in the metadata)"},
           {changed([](B& b) { b.raw("x", 13, ""); }), R"(metadata "x" is of type 13, known are 0 to 12)"},
           {changed([](B& b) { b.u32("general.alignment", 24); }),
            R"("general.alignment" is 24, expected a power of two)"},
           {and_tensor(99, {8}),
            R"(tensor "output.weight" is of the unknown type 99: octavo reads GGUF tensors of F32, F16, BF16 and Q8_0)"},
           {and_tensor(B::kQ4K, {256}),
            R"(tensor "output.weight" is Q4_K: octavo reads GGUF tensors of F32, F16, BF16 and Q8_0)"},
           {and_tensor(B::kQ8_0, {33}),
            R"(tensor "output.weight" is Q8_0 [33]: rows of Q8_0 must be a multiple of 32 long)"},
           {and_tensor(B::kF32, {1, 1, 1, 1, 8}),
            R"(tensor "output.weight" has 5 dimensions, expected 1 to 4)"},
           {and_tensor(B::kF32, {uint64_t{1} << 62, 8}),
            R"(tensor "output.weight": F32 [4611686018427387904, 8] has no valid size (above 2^63 - 1 bytes))"},
           {and_tensor(B::kF32, {8}, 4),
            R"(tensor "output.weight" begins at byte 4 of the data, which is no multiple of the alignment 32)"},
           {and_tensor(B::kF32, {8}, 0),
            R"(tensor "output.weight": its data begins at byte 0, expected 320: tensors overlap)"},
           {changed([](B& b) { b.u32("llama.expert_count", 8); }),
            R"("llama.expert_count" is 8, expected 0: octavo has no mixture of experts)"},
       }});
}

// ---- INT8 checkpoints: config.json, and the tensors beside it

struct Int8Folder {
  TempFolder folder;
  const SampleValues codes = HostTensor(DType::i8, {4, 8}).fill_codes(3);
  static SampleValues floats(std::vector<int64_t> shape, float value = 1) {
    return HostTensor(DType::f32, std::move(shape)).fill(value);
  }
  static void open(const fs::path& path) {
    const Context ctx;
    WeightLoader loader = WeightLoader::open(path, ctx);
    loader.load_linear({.parts = {{"a", 4}}, .in_features = 8}, Storage::int8);
    loader.finish();
  }
  // The bytes of a model.safetensors of these tensors.
  static std::string file_of(const std::vector<SampleTensor>& tensors) {
    TempFolder other;
    write_tensors(other / "t", tensors);
    return harness::content_of(other / "t");
  }
};

TEST(MalformedFiles, CompressedTensorsConfig) {
  Int8Folder f;
  write_tensors(f.folder / "model.safetensors",
                {{"a.weight", f.codes}, {"a.weight_scale", f.floats({4, 1})}});
  const Json sound = {{"quantization_config", make_quantization_config({"lm_head"})}};
  const std::string q = "/quantization_config/", group = q + "config_groups/group_0/";
  expect_all_refused(
      f.folder,
      {.file = "config.json",
       .sound = sound.dump(),
       .open = Int8Folder::open,
       .malformed = {
           {"{}", R"(tensor "a.weight" is I8 [4, 8], but config.json has no quantization_config)"},
           {with(sound, "/quantization_config", "int8"),
            R"("quantization_config" is "int8", expected an object)"},
           {with(sound, q + "quant_method", "gptq"),
            R"("quantization_config.quant_method" is "gptq", expected "compressed-tensors" or "bitsandbytes")"},
           {with(sound, q + "format", "pack-quantized"),
            R"("quantization_config.format" is "pack-quantized", expected "int-quantized")"},
           {with(sound, q + "config_groups", Json::object()),
            R"("quantization_config.config_groups" is {}, expected at least one group)"},
           {with(sound, group + "weights", nullptr),
            R"("quantization_config.config_groups.group_0.weights" is missing, expected an object)"},
           {with(sound, group + "weights/num_bits", 4),
            R"("quantization_config.config_groups.group_0.weights.num_bits" is 4, expected 8)"},
           {with(sound, group + "weights/num_bits", "8"),
            R"("quantization_config.config_groups.group_0.weights.num_bits" is "8", expected an integer from 1 to 2147483647)"},
           {with(sound, group + "weights/symmetric", false),
            R"("quantization_config.config_groups.group_0.weights.symmetric" is false, expected true: octavo's weights have no zero points)"},
           {with(sound, group + "weights/strategy", "group"),
            R"("quantization_config.config_groups.group_0.weights.strategy" is "group", expected "channel" or "tensor")"},
           {with(sound, group + "weights/group_size", 128),
            R"("quantization_config.config_groups.group_0.weights.group_size" is 128, expected null or -1)"},
           {with(sound, group + "weights/permutation", 1),
            R"("quantization_config.config_groups.group_0.weights.permutation" is 1, expected nothing: octavo does not know this key)"},
           {with(sound, group + "input_activations/dynamic", "local"),
            R"("quantization_config.config_groups.group_0.input_activations.dynamic" is "local", expected true or false)"},
           {with(sound, group + "output_activations", {{"num_bits", 8}}),
            R"("quantization_config.config_groups.group_0.output_activations" is {"num_bits":8}, expected null: octavo does not support it)"},
           {with(sound, group + "targets", "Linear"),
            R"("quantization_config.config_groups.group_0.targets" is "Linear", expected an array of strings)"},
           {with(sound, q + "kv_cache_scheme", {{"num_bits", 8}}),
            R"("quantization_config.kv_cache_scheme" is {"num_bits":8}, expected null: octavo does not support it)"},
           {with(sound, q + "ignore", "lm_head"),
            R"("quantization_config.ignore" is "lm_head", expected an array of strings)"},
           {with(sound, q + "ignore", {"a"}),
            R"(tensor "a.weight" is I8 [4, 8], but quantization_config.ignore lists "a")"},
           {with(sound, q + "surprise", true),
            R"("quantization_config.surprise" is true, expected nothing: octavo does not know this key)"},
       }});
}

TEST(MalformedFiles, CompressedTensorsWeights) {
  Int8Folder f;
  f.folder.write("config.json", Json{{"quantization_config", make_quantization_config({})}}.dump());
  const auto file = [&](const std::string& name, const SampleValues& values) {
    return Int8Folder::file_of({{"a.weight", f.codes}, {name, values}});
  };
  const SampleValues scale = f.floats({4, 1});
  expect_all_refused(
      f.folder,
      {.file = "model.safetensors",
       .sound = file("a.weight_scale", scale),
       .open = Int8Folder::open,
       .malformed = {
           {Int8Folder::file_of({{"a.weight_scale", scale}}),
            R"(has no tensor "a.weight"; the nearest name is "a.weight_scale")"},
           {Int8Folder::file_of({{"a.weight", f.codes}}),
            R"(tensor "a.weight" is I8 [4, 8], but there is no "a.weight_scale")"},
           {file("a.weight_scale", f.floats({3, 1})),
            R"(tensor "a.weight_scale" is F32 [3, 1], by config.json it should be [4, 1])"},
           {file("a.weight_scale", f.floats({4, 2})),
            R"(tensor "a.weight_scale" is F32 [4, 2], by config.json it should be [4, 1])"},
           {file("a.weight_scale", f.floats({4, 1}, NAN)),
            R"(tensor "a.weight_scale" is F32 [4, 1], and its scale 0 is nan: scales are finite and not negative)"},
           {file("a.weight_scale", f.floats({4, 1}, INFINITY)),
            R"(tensor "a.weight_scale" is F32 [4, 1], and its scale 0 is inf: scales are finite and not negative)"},
           {file("a.weight_scale", f.floats({4, 1}, -1)),
            R"(tensor "a.weight_scale" is F32 [4, 1], and its scale 0 is -1: scales are finite and not negative)"},
           {file("a.weight_scale", HostTensor(DType::i8, {4, 1}).fill(1)),
            R"(tensor "a.weight_scale" is I8 [4, 1], expected F32, F16 or BF16)"},
           {Int8Folder::file_of(
                {{"a.weight", HostTensor(DType::i8, {4, 9}).fill(1)}, {"a.weight_scale", scale}}),
            R"(tensor "a.weight" is I8 [4, 9], by config.json it should be [4, 8])"},
           {Int8Folder::file_of(
                {{"a.weight", HostTensor(DType::i32, {4, 8}).fill(1)}, {"a.weight_scale", scale}}),
            R"(tensor "a.weight" is I32 [4, 8]: octavo reads weights of F32, F16, BF16 and I8)"},
           {Int8Folder::file_of({{"a.weight", f.codes},
                                 {"a.weight_scale", scale},
                                 {"a.weight_zero_point", HostTensor(DType::i8, {4, 1}).fill(1)}}),
            R"(tensor "a.weight" is I8 [4, 8], and has zero points, which octavo does not support)"},
           {Int8Folder::file_of(
                {{"a.weight", f.codes}, {"a.weight_scale", scale}, {"a.input_scale", f.floats({1})}}),
            R"(1 tensor that the model of config.json does not use: "a.input_scale")"},
       }});
}

TEST(MalformedFiles, BitsandbytesConfig) {
  Int8Folder f;
  write_tensors(f.folder / "model.safetensors", {{"a.weight", f.codes}, {"a.SCB", f.floats({4})}});
  const Json sound = {{"quantization_config",
                       {{"quant_method", "bitsandbytes"}, {"load_in_8bit", true}, {"load_in_4bit", false}}}};
  const std::string q = "/quantization_config/";
  expect_all_refused(
      f.folder,
      {.file = "config.json",
       .sound = sound.dump(),
       .open = Int8Folder::open,
       .malformed = {
           {with(sound, "/quantization_config", {"bitsandbytes"}),
            R"("quantization_config" is ["bitsandbytes"], expected an object)"},
           {with(sound, q + "quant_method", nullptr),
            R"("quantization_config.quant_method" is missing, expected a string)"},
           {with(sound, q + "quant_method", "bitsandbites"),
            R"("quantization_config.quant_method" is "bitsandbites", expected "compressed-tensors" or "bitsandbytes")"},
           {with(sound, q + "load_in_8bit", false),
            R"("quantization_config.load_in_8bit" is false, expected true: octavo reads the 8-bit kind of bitsandbytes)"},
           {with(sound, q + "load_in_8bit", "yes"),
            R"("quantization_config.load_in_8bit" is "yes", expected true or false)"},
           {with(sound, q + "load_in_4bit", true),
            R"("quantization_config.load_in_4bit" is true, expected false: octavo reads the 8-bit kind of bitsandbytes)"},
           {with(sound, q + "llm_int8_has_fp16_weight", true),
            R"("quantization_config.llm_int8_has_fp16_weight" is true, expected false: the weights must be INT8 in the file)"},
           {with(sound, q + "llm_int8_threshold", -1),
            R"("quantization_config.llm_int8_threshold" is -1, expected a number from 0 to 1000000000)"},
           {with(sound, q + "llm_int8_threshold", "6"),
            R"("quantization_config.llm_int8_threshold" is "6", expected a number from 0 to 1000000000)"},
           {with(sound, q + "llm_int8_skip_modules", "lm_head"),
            R"("quantization_config.llm_int8_skip_modules" is "lm_head", expected an array of strings)"},
           {with(sound, q + "llm_int8_skip_modules", {"a"}),
            R"(tensor "a.weight" is I8 [4, 8], but quantization_config.llm_int8_skip_modules lists "a")"},
           {with(sound, q + "llm_int8_surprise", 1),
            R"("quantization_config.llm_int8_surprise" is 1, expected nothing: octavo does not know this key)"},
       }});
}

TEST(MalformedFiles, BitsandbytesWeights) {
  Int8Folder f;
  f.folder.write("config.json",
                 R"({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true}})");
  const auto file = [&](const SampleValues& weight, const SampleValues& scb, const SampleValues& layout) {
    return Int8Folder::file_of({{"a.weight", weight}, {"a.SCB", scb}, {"a.weight_format", layout}});
  };
  const SampleValues scb = f.floats({4}), rows = HostTensor(DType::u8, {}).fill(0);
  expect_all_refused(
      f.folder,
      {.file = "model.safetensors",
       .sound = file(f.codes, scb, rows),
       .open = Int8Folder::open,
       .malformed = {
           {Int8Folder::file_of({{"a.SCB", scb}}),
            R"(has no tensor "a.weight"; the nearest name is "a.SCB")"},
           {Int8Folder::file_of({{"a.weight", f.codes}}),
            R"(tensor "a.weight" is I8 [4, 8], but there is no "a.SCB")"},
           {file(f.codes, f.floats({3}), rows),
            R"(tensor "a.SCB" is F32 [3], by config.json it should be [4])"},
           {file(f.codes, f.floats({4, 1}), rows),
            R"(tensor "a.SCB" is F32 [4, 1], by config.json it should be [4])"},
           {file(f.codes, HostTensor(DType::i8, {4}).fill(1), rows),
            R"(tensor "a.SCB" is I8 [4], expected F32, F16 or BF16)"},
           {file(f.codes, f.floats({4}, NAN), rows),
            R"(tensor "a.SCB" is F32 [4], and its scale 0 is nan: scales are finite and not negative)"},
           {file(f.codes, f.floats({4}, -2), rows),
            R"(tensor "a.SCB" is F32 [4], and its scale 0 is -2: scales are finite and not negative)"},
           {file(f.codes, f.floats({4}, INFINITY), rows),
            R"(tensor "a.SCB" is F32 [4], and its scale 0 is inf: scales are finite and not negative)"},
           {file(f.codes, scb, HostTensor(DType::u8, {}).fill(2)),
            R"(tensor "a.weight_format" is U8 [], and says 2: octavo reads weights stored row by row (0))"},
           {file(f.codes, scb, HostTensor(DType::u8, {2}).fill(0)),
            R"(tensor "a.weight_format" is U8 [2], expected one U8)"},
           {file(f.codes, scb, f.floats({1}, 0)), R"(tensor "a.weight_format" is F32 [1], expected one U8)"},
           {file(HostTensor(DType::i8, {4, 9}).fill(1), scb, rows),
            R"(tensor "a.weight" is I8 [4, 9], by config.json it should be [4, 8])"},
       }});
}

}  // namespace
}  // namespace octavo
