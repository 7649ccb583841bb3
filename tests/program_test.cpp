// The program as its users run it: output, exit codes, and a clear message for everything that can be wrong.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/temp_folder.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kDemo = fs::path(OCTAVO_SOURCE_DIR) / "models/demo";

struct Outcome {
  int code = -1;
  std::string out, err;
};

std::string slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void spit(const fs::path& path, const std::string& bytes) {
  fs::remove(path);
  std::ofstream(path, std::ios::binary) << bytes;
}

class Program : public ::testing::Test {
 protected:
  Outcome run(const std::vector<std::string>& arguments, const std::string& before = "") {
    std::string command = before + " " + OCTAVO_PROGRAM;
    for (const auto& a : arguments) {
      command += " '";
      for (char c : a) command += c == '\'' ? std::string("'\\''") : std::string(1, c);
      command += "'";
    }
    const fs::path out = folder.path() / "stdout", err = folder.path() / "stderr";
    const int status =
        std::system(("( " + command + " ) >" + out.string() + " 2>" + err.string() + " </dev/null").c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), slurp(out), slurp(err)};
  }
  void expect_error(const Outcome& r, int code, const std::string& says) {
    EXPECT_EQ(r.code, code) << r.err;
    EXPECT_THAT(r.err, HasSubstr(says));
    EXPECT_THAT(r.err, ::testing::StartsWith("octavo: "));
    EXPECT_EQ(r.out, "");
  }
  // A folder with links to the built-in model's files, to be damaged one at a time.
  fs::path model_copy() {
    const fs::path copy = folder.path() / "model";
    fs::remove_all(copy);
    fs::create_directory(copy);
    for (const auto& file : fs::directory_iterator(kDemo))
      fs::create_symlink(file.path(), copy / file.path().filename());
    return copy;
  }
  Outcome generate(const fs::path& model, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = {"generate", "-m", model.string(), "-p", "Once", "-n", "4"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  // The built-in model's folder with another safetensors file: a JSON header and bytes after it.
  fs::path model_with_weights(const std::string& header, size_t data_bytes,
                              uint64_t claimed_header_bytes = 0) {
    const fs::path copy = model_copy();
    std::string file(8, '\0');
    uint64_t n = claimed_header_bytes ? claimed_header_bytes : header.size();
    for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(n >> (8 * i));
    spit(copy / "model.safetensors", file + header + std::string(data_bytes, '\0'));
    return copy;
  }
  fs::path model_with_config(const std::string& key, const nlohmann::json& value) {
    const fs::path copy = model_copy();
    auto config = nlohmann::json::parse(slurp(kDemo / "config.json"));
    config[key] = value;
    spit(copy / "config.json", config.dump());
    return copy;
  }
  harness::TempFolder folder;
};

TEST_F(Program, WithoutArgumentsItHelps) {
  const Outcome r = run({});
  EXPECT_EQ(r.code, 0);
  EXPECT_THAT(r.out, HasSubstr("octavo demo"));
  EXPECT_EQ(run({"--version"}).code, 0);
  EXPECT_EQ(run({"generate", "--help"}).code, 0);
}

TEST_F(Program, GeneratesTheSameTextForTheSameSeed) {
  const std::vector<std::string> arguments = {"generate", "-p", "Once upon a time", "-n", "24", "-s", "5"};
  const Outcome first = run(arguments), second = run(arguments);
  EXPECT_EQ(first.code, 0) << first.err;
  EXPECT_GT(first.out.size(), 20u);
  EXPECT_EQ(first.out, second.out);
  EXPECT_THAT(first.err, HasSubstr("tok/s"));
}

TEST_F(Program, JsonIsOneObject) {
  const Outcome r = run({"generate", "-p", "The old house", "-n", "8", "--temp", "0", "--json"});
  ASSERT_EQ(r.code, 0) << r.err;
  const auto j = nlohmann::json::parse(r.out);
  EXPECT_EQ(j["generated_tokens"], 8);
  EXPECT_EQ(j["finish_reason"], "token limit");
  EXPECT_EQ(j["ids"].size(), 8u);
}

TEST_F(Program, TheTextDoesNotDependOnThreadsOrPromptChunks) {
  const std::vector<std::string> base = {
      "generate", "-p", "Once upon a time there was a little boy", "-n", "16", "--temp", "0"};
  const std::string expected = run(base).out;
  for (const auto& more : std::vector<std::vector<std::string>>{
           {"-t", "1"}, {"-t", "3"}, {"-t", "7"}, {"--prefill-chunk", "3"}}) {
    auto arguments = base;
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_EQ(run(arguments).out, expected) << more[0] << more[1];
  }
}

TEST_F(Program, StopStringsEndTheText) {
  const std::string whole = run({"generate", "-p", "Once upon a time", "-n", "40", "--temp", "0"}).out;
  const std::string word = whole.substr(whole.find(' ', 20), 6);
  const Outcome r = run({"generate", "-p", "Once upon a time", "-n", "40", "--temp", "0", "--stop", word});
  EXPECT_EQ(r.out, whole.substr(0, whole.find(word)) + "\n");
  EXPECT_THAT(r.err, HasSubstr("stop string"));
}

TEST_F(Program, PlanIsWhatLoadingAllocates) {
  const Outcome plan = run({"plan", "--json", "-c", "256"}),
                used = run({"generate", "--json", "-c", "256", "-p", "a", "-n", "1"});
  ASSERT_EQ(plan.code, 0) << plan.err;
  int64_t weights = 0, kv = 0;
  const auto table = nlohmann::json::parse(plan.out);
  for (const auto& row : table["rows"]) {
    const std::string what = row["what"];
    if (what.starts_with("weights")) weights += row["bytes"].get<int64_t>();
    if (what.starts_with("KV")) kv += row["bytes"].get<int64_t>();
  }
  const auto j = nlohmann::json::parse(used.out);
  EXPECT_EQ(weights, j["weight_bytes"]);
  EXPECT_EQ(kv, j["kv_bytes"]);
}

TEST_F(Program, MemoryBudgetIsAHardLimit) {
  expect_error(run({"generate", "-p", "a", "--memory-budget", "1MB"}), 4, "--memory-budget 1000000");
  const Outcome fits = run({"plan", "--memory-budget", "100MB"});
  EXPECT_EQ(fits.code, 0) << fits.err;
  expect_error(run({"plan", "--memory-budget", "6 bananas"}), 2, "6 bananas");
}

TEST_F(Program, InspectExplainEval) {
  EXPECT_THAT(run({"inspect"}).out, HasSubstr("LlamaForCausalLM"));
  EXPECT_THAT(run({"explain"}).out, HasSubstr("gemm_w8a8"));
  const fs::path text = folder.path() / "text.txt";
  spit(text, "The boy went down to the river, and there he saw a great ship with white sails.");
  const Outcome r = run({"eval", "-f", text.string(), "--json"});
  ASSERT_EQ(r.code, 0) << r.err;
  const auto j = nlohmann::json::parse(r.out);
  EXPECT_GT(j["top1_agreement"], 0.8);
  EXPECT_GT(j["perplexity"], 1.0);
}

TEST_F(Program, EmbedPrintsAVectorForEveryText) {
  const std::string bert = std::string(OCTAVO_SOURCE_DIR) + "/tests/goldens/families/bert";
  const Outcome json = run({"embed", "-m", bert, "a text", "another", "--json"});
  ASSERT_EQ(json.code, 0) << json.err;
  const auto answer = nlohmann::json::parse(json.out);
  ASSERT_EQ(answer["data"].size(), 2u);
  EXPECT_EQ(answer["data"][1]["index"], 1);
  EXPECT_GT(answer["usage"]["prompt_tokens"], 4);
  double squares = 0;
  for (const double x : answer["data"][0]["embedding"]) squares += x * x;
  EXPECT_NEAR(squares, 1.0, 1e-5);
  EXPECT_EQ(answer["data"][0]["embedding"].size(), 44u);

  const fs::path file = folder.path() / "texts.txt";
  spit(file, "a text\r\nanother\n");
  const Outcome lines = run({"embed", "-m", bert, "-f", file.string(), "-q"});
  ASSERT_EQ(lines.code, 0) << lines.err;
  EXPECT_EQ(std::count(lines.out.begin(), lines.out.end(), '\n'), 2);
  EXPECT_EQ(std::count(lines.out.begin(), lines.out.end(), ' '), 2 * 43);
  EXPECT_EQ(lines.err, "");

  const std::string longer(50, 'a');
  expect_error(run({"embed", "-m", bert, longer}), 2, "--truncate");
  EXPECT_THAT(run({"embed", "-m", bert, longer, "--truncate"}).err,
              HasSubstr("1 texts were cut to 40 tokens"));
  expect_error(run({"embed", "-m", bert}), 2, "no text");
  expect_error(run({"embed", "-m", bert, "a", "--pooling", "max"}), 2, "--pooling max");
  expect_error(run({"embed", "-m", kDemo.string(), "a"}), 3, "LlamaForCausalLM is no encoder");
  expect_error(generate(bert), 3, "octavo embed");
  EXPECT_THAT(run({"plan", "-m", bert}).out, HasSubstr("weights: positions"));
  EXPECT_THAT(run({"explain", "-m", bert}).out, HasSubstr("layer_norm"));
  EXPECT_THAT(run({"inspect", "-m", bert}).out, HasSubstr("BertForMaskedLM"));
}

TEST_F(Program, QuantizedFolderGivesTheSameModel) {
  const fs::path out = folder.path() / "int8";
  ASSERT_EQ(run({"quantize", "-o", out.string()}).code, 0);
  const Outcome r = generate(out, {"--temp", "0"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(r.out, generate(kDemo, {"--temp", "0"}).out);
  expect_error(run({"quantize", "-o", out.string()}), 2,
               out.string());  // never over an existing model without --force
}

TEST_F(Program, NoSpaceLeavesNothing) {
  const fs::path out = folder.path() / "full";
  const Outcome r = run({"quantize", "-o", out.string()}, "ulimit -f 2000;");
  EXPECT_EQ(r.code, 1) << r.err;
  EXPECT_TRUE(!fs::exists(out) || fs::is_empty(out));
}

TEST_F(Program, UsageErrors) {
  expect_error(run({"generate", "--tmep", "0"}), 2, "--temp");
  expect_error(run({"genrate"}), 2, "generate");
  expect_error(run({"generate", "-p", "a", "--quantization", "w4"}), 2, "w4");
  expect_error(run({"generate", "-p", "a", "--isa", "avx1024"}), 2, "avx1024");
  expect_error(run({"generate", "-p", "a", "--kv-cache-dtype", "fp3"}), 2, "fp3");
  expect_error(run({"generate", "-p", "a", "-c", "1000000"}), 2, "1000000");
  expect_error(run({"generate", "-p", "a", "--temp", "-1"}), 2, "temperature");
  expect_error(run({"generate", "-p", "a", "-n", "many"}), 2, "many");
}

TEST_F(Program, AnUnknownFlagIsNotAnAbbreviation) { expect_error(run({"plan", "--jsno"}), 2, "--json"); }

TEST_F(Program, PromptLongerThanTheContextIsRefusedWithNumbers) {
  std::string longer;
  for (int i = 0; i < 300; ++i) longer += "word ";
  const Outcome r = run({"generate", "-c", "128", "-p", longer});
  expect_error(r, 2, "128");
  EXPECT_THAT(r.err, HasSubstr("tokens"));
}

TEST_F(Program, InvalidUtf8IsRefusedWithItsPlace) { expect_error(run({"generate", "-p", "ab\xff"}), 2, "2"); }

TEST_F(Program, MissingFiles) {
  expect_error(generate("/no/such/folder"), 3, "/no/such/folder");
  for (const char* file : {"config.json", "tokenizer.json", "model.safetensors"}) {
    const fs::path copy = model_copy();
    fs::remove(copy / file);
    expect_error(generate(copy), 3, file);
  }
  expect_error(run({"generate", "-f", "/no/such/prompt.txt"}), 3, "/no/such/prompt.txt");
}

TEST_F(Program, DamagedWeights) {
  const fs::path copy = model_copy();
  std::string bytes = slurp(kDemo / "model.safetensors");
  bytes.pop_back();
  spit(copy / "model.safetensors", bytes);
  expect_error(generate(copy), 3, "model.safetensors");

  const std::string tensor = R"({"model.norm.weight":{"dtype":"F32","shape":[2],"data_offsets":)";
  expect_error(generate(model_with_weights("{}", 0, 5000)), 3, "header");
  expect_error(generate(model_with_weights("{}", 0, ~uint64_t{0})), 3, "header");
  expect_error(generate(model_with_weights(
                   tensor + "[0,8]},\"b\":" + R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8)),
               3, "model.safetensors");
  expect_error(generate(model_with_weights(tensor + "[18446744073709551612,4]}}", 8)), 3,
               "model.safetensors");
  expect_error(generate(model_with_weights(tensor + "[0,8]},\"model.norm.weight\":" +
                                               R"({"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
                                           16)),
               3, "model.norm.weight");
  expect_error(generate(model_with_weights(
                   R"({"model.norm.weight":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}})", 8)),
               3, "F33");
}

TEST_F(Program, ShardNameOutsideTheFolder) {
  for (const char* name : {"../model.safetensors", "/etc/passwd", "a/../../b.safetensors"}) {
    const fs::path copy = model_copy();
    fs::remove(copy / "model.safetensors");
    spit(copy / "model.safetensors.index.json",
         nlohmann::json{{"weight_map", {{"model.norm.weight", name}}}}.dump());
    expect_error(generate(copy), 3, "model.safetensors.index.json");
  }
}

TEST_F(Program, ConfigsThatCannotBe) {
  const Outcome r = generate(model_with_config("architectures", {"MambaForCausalLM"}));
  expect_error(r, 3, "MambaForCausalLM");
  EXPECT_THAT(r.err, HasSubstr("LlamaForCausalLM"));
  const auto config = nlohmann::json::parse(slurp(kDemo / "config.json"));
  expect_error(generate(model_with_config("intermediate_size", config["intermediate_size"].get<int>() + 1)),
               3, "mlp");
  expect_error(generate(model_with_config("num_hidden_layers", config["num_hidden_layers"].get<int>() - 1)),
               3, "layers");
  expect_error(generate(model_with_config("hidden_size", "abc")), 3, "hidden_size");
  expect_error(generate(model_with_config("vocab_size", config["vocab_size"].get<int>() - 5)), 3,
               "vocab_size");
  expect_error(generate(model_with_config("num_attention_heads", 7)), 3, "num_");
}

}  // namespace
}  // namespace octavo
