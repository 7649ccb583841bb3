#include "weights/checkpoint_writer.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/thread_pool.h"
#include "formats/json_file.h"
#include "formats/tensor_folder.h"
#include "harness/expect_error.h"
#include "weights/sample_folder.h"
#include "weights/weight_loader.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using harness::content_of;
using harness::expect_error;
using harness::TempFolder;
using Names = std::vector<std::string>;

const std::string kConfig = R"({"model_type": "llama", "rms_norm_eps": 1e-05, "torch_dtype": "bfloat16"})";

std::vector<SampleTensor> sample_tensors(DType dtype) {
  return {{"lm_head.weight", normal(dtype, {6, 20}, 1)},
          {"model.embed_tokens.weight", normal(dtype, {6, 20}, 2)},
          {"model.layers.0.input_layernorm.weight", normal(dtype, {20}, 3)},
          {"model.layers.0.mlp.down_proj.weight", normal(dtype, {20, 33}, 4)},
          {"model.layers.0.mlp.up_proj.weight", normal(dtype, {33, 20}, 5)},
          {"model.layers.0.self_attn.q_proj.bias", normal(dtype, {20}, 6)},
          {"model.layers.0.self_attn.q_proj.weight", normal(dtype, {20, 20}, 7)}};
}

std::vector<std::string> names_in(const fs::path& folder) {
  Names names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string bytes_of(const ConstTensor& t) {  // rows without their padding
  std::string bytes;
  const auto row_bytes = static_cast<size_t>(t.dim(t.rank() - 1) * size_of(t.dtype()));
  const int64_t rows = t.rank() == 2 ? t.dim(0) : 1, pitch = t.rank() == 2 ? t.stride(0) : 0;
  for (int64_t r = 0; r < rows; ++r)
    bytes.append(static_cast<const char*>(t.data()) + r * pitch * size_of(t.dtype()), row_bytes);
  return bytes;
}

struct CheckpointTest : ::testing::Test {
  ThreadPool pool{2};
  Context ctx;
  TempFolder input, output;
  CheckpointTest() { ctx.pool = &pool; }
  void write_input(DType dtype = DType::bf16) {
    write_model(input, sample_tensors(dtype), kConfig);
    input.write("tokenizer.json", "{\"t\": 1}");
    input.write("generation_config.json", "{}");
    input.write("LICENSE", "licence");
    input.write("pytorch_model.bin", "not copied");
    input.write(".gitattributes", "not copied");
  }
  fs::path target() const { return output / "int8"; }
  CheckpointSummary write(const CheckpointOptions& options = {}) {
    return write_int8_checkpoint(input.path(), target(), ctx, options);
  }
};

TEST_F(CheckpointTest, HoldsWhatLoadingTheInputWouldGive) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    SCOPED_TRACE(name_of(dtype));
    write_input(dtype);
    const CheckpointSummary summary = write({.force = true});
    EXPECT_EQ(summary.quantized_tensors, 3);
    EXPECT_EQ(summary.copied_tensors, 4);
    EXPECT_EQ(summary.files, (Names{"model.safetensors", "LICENSE", "generation_config.json",
                                    "tokenizer.json", "config.json"}));
    EXPECT_EQ(names_in(target()), (Names{"LICENSE", "config.json", "generation_config.json",
                                         "model.safetensors", "tokenizer.json"}));
    EXPECT_EQ(content_of(target() / "tokenizer.json"), "{\"t\": 1}");

    WeightLoader from = WeightLoader::open(input.path(), ctx), to = WeightLoader::open(target(), ctx);
    EXPECT_TRUE(to.file_is_quantized());
    EXPECT_EQ(to.files().total_bytes(), summary.bytes_out);
    EXPECT_EQ(from.files().total_bytes(), summary.bytes_in);
    for (const SampleTensor& t : sample_tensors(dtype)) {
      SCOPED_TRACE(t.name);
      const std::vector<int64_t>& shape = t.values.shape();
      if (shape.size() == 1) {
        EXPECT_EQ(bytes_of(from.load_vector(t.name, shape[0]).view()),
                  bytes_of(to.load_vector(t.name, shape[0]).view()));
        continue;
      }
      const std::string module = t.name.substr(0, t.name.size() - 7);
      const LinearWeight a = from.load_table(module, shape[0], shape[1], Storage::int8);
      const LinearWeight b = to.load_table(module, shape[0], shape[1], Storage::int8);
      EXPECT_EQ(bytes_of(a.w()), bytes_of(b.w()));
      EXPECT_EQ(bytes_of(a.w_scale()), bytes_of(b.w_scale()));
      EXPECT_EQ(bytes_of(a.w_code_sum()), bytes_of(b.w_code_sum()));
    }
    to.finish();
  }
}

TEST_F(CheckpointTest, LayoutIsThatOfCompressedTensors) {
  write_input();
  write();
  const TensorFolder files = TensorFolder::open(target());
  EXPECT_EQ(files.at("model.layers.0.mlp.up_proj.weight").describe(), "I8 [33, 20]");
  EXPECT_EQ(files.at("model.layers.0.mlp.up_proj.weight_scale").describe(), "F32 [33, 1]");
  for (const char* name :
       {"lm_head.weight", "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"})
    EXPECT_EQ(files.at(name).dtype_name, "BF16") << name;
  EXPECT_EQ(files.files()[0].metadata().at("format"), "pt");
  const nlohmann::json config = read_json_file(target() / "config.json");
  EXPECT_EQ(config["model_type"], "llama");
  EXPECT_EQ(config["rms_norm_eps"], 1e-05);
  const nlohmann::json& q = config["quantization_config"];
  EXPECT_EQ(q["quant_method"], "compressed-tensors");
  EXPECT_EQ(q["format"], "int-quantized");
  EXPECT_EQ(q["ignore"], nlohmann::json::array({"lm_head"}));
  EXPECT_EQ(q["config_groups"]["group_0"]["weights"]["strategy"], "channel");
  EXPECT_EQ(q["config_groups"]["group_0"]["input_activations"]["strategy"], "token");
}

TEST_F(CheckpointTest, TheHeadIsQuantisedOnRequest) {
  write_input();
  write({.ignore = {}});
  EXPECT_EQ(TensorFolder::open(target()).at("lm_head.weight").dtype_name, "I8");
  EXPECT_TRUE(read_json_file(target() / "config.json")["quantization_config"]["ignore"].empty());
}

TEST_F(CheckpointTest, ShardsHaveAnIndex) {
  write_input();
  const CheckpointSummary summary = write({.shard_bytes = 1000});
  EXPECT_GT(summary.files.size(), 4u);
  EXPECT_EQ(summary.files.back(), "config.json");
  EXPECT_EQ(summary.files[summary.files.size() - 2], "model.safetensors.index.json");
  const TensorFolder files = TensorFolder::open(target());
  EXPECT_GT(files.files().size(), 1u);
  EXPECT_EQ(files.total_bytes(), summary.bytes_out);
  const nlohmann::json index = read_json_file(target() / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], summary.bytes_out);
  // A scale lies beside its codes.
  EXPECT_EQ(index["weight_map"]["model.layers.0.mlp.up_proj.weight"],
            index["weight_map"]["model.layers.0.mlp.up_proj.weight_scale"]);
  // And the shards can be read back as an input of one file.
  TempFolder single;
  expect_error(ErrorKind::bad_model, "is {",
               [&] { write_int8_checkpoint(target(), single / "x", ctx); });  // quantised already
}

TEST_F(CheckpointTest, ManyRowsGoThroughInBlocks) {
  const SampleValues wide = normal(DType::f32, {2100, 1025}, 11);
  write_model(input, {{"a.weight", wide}}, kConfig);
  std::vector<int64_t> done;
  write({.progress = [&](int64_t d, int64_t) { done.push_back(d); }});
  EXPECT_GT(done.size(), 1u);
  EXPECT_EQ(done.back(), 2100 * 1025 * 4);
  const LinearWeight a = WeightLoader::open(input.path(), ctx).load_table("a", 2100, 1025, Storage::int8);
  const LinearWeight b = WeightLoader::open(target(), ctx).load_table("a", 2100, 1025, Storage::int8);
  EXPECT_EQ(bytes_of(a.w()), bytes_of(b.w()));
  EXPECT_EQ(bytes_of(a.w_scale()), bytes_of(b.w_scale()));
}

TEST_F(CheckpointTest, TargetsThatMustNotBeWrittenAreRefused) {
  write_input();
  const auto refused = [&](const fs::path& to, bool force, const std::string& message) {
    const Names before = input.names();
    expect_error(ErrorKind::usage, message,
                 [&] { write_int8_checkpoint(input.path(), to, ctx, {.force = force}); });
    EXPECT_EQ(input.names(), before);
  };
  refused(input.path(), true, "is the input folder");
  refused(input.path() / "", true, "is the input folder");
  fs::create_directory_symlink(input.path(), output / "link");
  refused(output / "link", true, "is the input folder");
  refused(output.write("file", "x"), true, "is a file");
  fs::create_directory(target());
  fs::create_hard_link(input / "model.safetensors", target() / "hard");
  refused(target(), false, "is not empty; choose another folder or pass --force");
  refused(target(), true, "hard: is the input file");
  fs::remove(target() / "hard");
  fs::create_symlink(input / "model.safetensors", target() / "model.safetensors");
  refused(target(), true, "model.safetensors: is the input file");
  fs::remove(target() / "model.safetensors");
  EXPECT_NO_THROW(write());  // an empty folder is fine
}

TEST_F(CheckpointTest, ForceReplacesTheOldModelAndKeepsTheRest) {
  write_input();
  write({.shard_bytes = 1000});
  std::ofstream(target() / "README.md") << "mine";
  write({.force = true});
  EXPECT_EQ(names_in(target()), (Names{"LICENSE", "README.md", "config.json", "generation_config.json",
                                       "model.safetensors", "tokenizer.json"}));
  EXPECT_NO_THROW(WeightLoader::open(target(), ctx));
}

TEST_F(CheckpointTest, BadInputLeavesNothingBehind) {
  const auto bad = [&](const std::string& message) {
    expect_error(ErrorKind::bad_model, message, [&] { write(); });
    EXPECT_TRUE(output.names().empty());
  };
  bad("no model.safetensors");
  write_model(input, {{"norm.weight", normal(DType::f32, {3}, 1)}}, kConfig);
  bad("has no tensor of a Linear layer to quantise");
  write_model(input, {{"a.weight", normal(DType::f32, {1, 131072}, 1)}}, kConfig);
  bad("\"a.weight\" has 131072 input features, INT8 products allow 131071");
  write_model(
      input, {{"a.weight", normal(DType::f32, {3, 3}, 1)}, {"a.weight_scale", normal(DType::f32, {3, 1}, 1)}},
      kConfig);
  bad("has a scale already");
  write_input();
  fs::resize_file(input / "model.safetensors", fs::file_size(input / "model.safetensors") - 1);
  bad("it is cut off");  // B03
  write_input();
  input.write("config.json", "[]");
  bad("expected a JSON object");
}

// The input shrinks after it was checked: all temporary files and the folders made for them go again.
TEST_F(CheckpointTest, FailureInTheMiddleLeavesNothingBehind) {
  write_input();
  CheckpointOptions options;
  options.progress = [&](int64_t, int64_t) { fs::resize_file(input / "model.safetensors", 1200); };
  expect_error(ErrorKind::bad_model, "it was cut while being read",
               [&] { write_int8_checkpoint(input.path(), output / "deep" / "er" / "int8", ctx, options); });
  EXPECT_TRUE(output.names().empty());
}

TEST_F(CheckpointTest, NoSpaceLeavesNothingBehindAndTheOldModelWhole) {
  write_input();
  write();
  const Names before = names_in(target());
  const std::string old = content_of(target() / "model.safetensors");
  write_model(input, {{"a.weight", normal(DType::f32, {300, 300}, 1)}}, kConfig);
  bool progressed = false;
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit unlimited;
  getrlimit(RLIMIT_FSIZE, &unlimited);
  const rlimit small{50'000, unlimited.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  expect_error(ErrorKind::runtime, "model.safetensors: space could not be reserved",
               [&] { write({.force = true, .progress = [&](int64_t, int64_t) { progressed = true; }}); });
  expect_error(ErrorKind::runtime, "space could not be reserved",
               [&] { write_int8_checkpoint(input.path(), output / "other", ctx); });
  setrlimit(RLIMIT_FSIZE, &unlimited);
  signal(SIGXFSZ, handler);
  EXPECT_FALSE(progressed);  // known before any work
  EXPECT_EQ(names_in(target()), before);
  EXPECT_EQ(content_of(target() / "model.safetensors"), old);
  EXPECT_EQ(output.names(), Names{"int8"});
}

TEST(LooksLikeLinear, ByTheLastPartOfTheName) {
  for (const char* name :
       {"model.layers.0.self_attn.q_proj", "lm_head", "model.layers.31.mlp.gate_proj", "score"})
    EXPECT_TRUE(looks_like_linear(name)) << name;
  for (const char* name : {"model.embed_tokens", "transformer.wte", "transformer.wpe", "model.norm",
                           "transformer.h.0.attn.c_attn", "embeddings.word_embeddings", "shared"})
    EXPECT_FALSE(looks_like_linear(name)) << name;
}

}  // namespace
}  // namespace octavo
