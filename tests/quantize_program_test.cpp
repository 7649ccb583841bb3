// octavo quantize and octavo eval as their users run them; GGUF files; what octavo writes in the hands of other packages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "formats/tensor_folder.h"
#include "harness/temp_folder.h"

namespace octavo {
namespace {

namespace fs = std::filesystem;
using harness::content_of;
using ::testing::HasSubstr;
using Json = nlohmann::json;

const fs::path kSource = OCTAVO_SOURCE_DIR, kGguf = kSource / "tests/goldens/gguf/tiny.gguf";

struct Outcome {
  int code;
  std::string out, err;
};

struct QuantizeProgram : ::testing::Test {
  harness::TempFolder folder;
  Outcome shell(const std::string& command) {
    const std::string out = (folder / "stdout").string(), err = (folder / "stderr").string();
    const int status = std::system(("( " + command + " ) >" + out + " 2>" + err + " </dev/null").c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, content_of(out), content_of(err)};
  }
  Outcome run(const std::string& arguments) { return shell(std::string(OCTAVO_PROGRAM) + " " + arguments); }
  std::string path(const std::string& name) { return (folder / name).string(); }
};

TEST_F(QuantizeProgram, MeasuresWhatItCost) {
  const Outcome r = run("quantize -o " + path("int8") + " --eval-tokens 400 -t 2");
  ASSERT_EQ(r.code, 0) << r.err;
  for (const char* part : {"linear layers in INT8", "perplexity", "mean KL", "p99", "top-1 agreement",
                           "largest errors", "next: "})
    EXPECT_THAT(r.out, HasSubstr(part));
  const Json report = Json::parse(content_of(folder / "int8/octavo_report.json"));
  const Json& a = report["accuracy"];
  EXPECT_EQ(a["tokens"], 400);
  EXPECT_EQ(report["quantization"], "auto");
  EXPECT_GT(a["perplexity_reference"].get<double>(), 1);
  EXPECT_LT(std::abs(a["perplexity"].get<double>() / a["perplexity_reference"].get<double>() - 1), 0.02);
  EXPECT_GT(a["mean_kl"].get<double>(), 0);
  EXPECT_GE(a["p99_kl"], a["mean_kl"]);
  EXPECT_GT(a["top1_agreement"].get<double>(), 0.95);
  ASSERT_EQ(report["worst_layers"].size(), 5u);
  EXPECT_GE(report["worst_layers"][0]["output_error"], report["worst_layers"][4]["output_error"]);
  EXPECT_LT(report["bytes_after"], report["bytes_before"]);
  const std::string readme = content_of(folder / "int8/README.md");
  for (const char* part :
       {"| perplexity |", "| mean KL (nats) |", "| top-1 agreement |", "_proj", "octavo_report.json"})
    EXPECT_THAT(readme, HasSubstr(part));
  // `octavo eval` of the two folders measures the same.
  const Outcome eval =
      run("eval -m " + path("int8") + " --reference " + (kSource / "models/demo").string() + " -f " +
          (kSource / "models/demo/heldout.txt").string() + " --max-tokens 400 -t 2 --json");
  ASSERT_EQ(eval.code, 0) << eval.err;
  const Json again = Json::parse(eval.out);
  for (const char* key : {"perplexity", "perplexity_reference", "mean_kl", "p99_kl", "top1_agreement"})
    EXPECT_NEAR(again[key].get<double>(), a[key].get<double>(), 1e-6 * std::abs(a[key].get<double>())) << key;
}

TEST_F(QuantizeProgram, OtherTextsNoMeasuringAndJson) {
  ASSERT_EQ(run("quantize -o " + path("a") + " --no-eval").code, 0);
  EXPECT_FALSE(fs::exists(folder / "a/octavo_report.json"));
  const auto text =
      folder.write("story.txt", "Once upon a time there was a boy. He lived in a house by the sea.");
  const Outcome r = run("quantize -o " + path("b") + " --eval-text " + text.string() + " --json");
  ASSERT_EQ(r.code, 0) << r.err;
  const Json report = Json::parse(r.out);
  EXPECT_EQ(report, Json::parse(content_of(folder / "b/octavo_report.json")));
  EXPECT_EQ(report["text"], "story.txt");
  const Outcome missing = run("quantize -o " + path("c") + " --eval-text /no/such/file");
  EXPECT_EQ(missing.code, 3);
  EXPECT_THAT(missing.err, HasSubstr("is written, but its accuracy was not measured: /no/such/file"));
  EXPECT_TRUE(fs::exists(folder / "c/config.json"));
  EXPECT_EQ(run("quantize -o " + path("d") + " --smooth 2").code, 2);
  EXPECT_EQ(run("quantize -o " + path("d") + " --eval-tokens 1").code, 2);
  EXPECT_FALSE(fs::exists(folder / "d"));
}

TEST_F(QuantizeProgram, TransformsLeaveNothingBehind) {
  const Outcome r = run("quantize -o " + path("int8") + " --rotate --smooth 0.5 --eval-tokens 200 -t 2");
  ASSERT_EQ(r.code, 0) << r.err;
  const Json report = Json::parse(content_of(folder / "int8/octavo_report.json"));
  EXPECT_EQ(report["transforms"], "--rotate --smooth 0.5");
  EXPECT_LT(std::abs(report["accuracy"]["perplexity"].get<double>() /
                         report["accuracy"]["perplexity_reference"].get<double>() -
                     1),
            0.02);
  EXPECT_EQ(folder.names(), (std::vector<std::string>{"int8", "stderr", "stdout"}));
}

TEST_F(QuantizeProgram, GgufFilesGenerateAndQuantise) {
  const std::string model = kGguf.string();
  const Outcome text = run("generate -m " + model + " -p 'the sea' -n 6 --temp 0 --json");
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_EQ(Json::parse(text.out)["generated_tokens"], 6);
  EXPECT_THAT(text.err, HasSubstr("are Q8_0"));
  const Outcome made = run("quantize -m " + model + " -o " + path("int8") + " --eval-tokens 60");
  ASSERT_EQ(made.code, 0) << made.err;
  const Json report = Json::parse(content_of(folder / "int8/octavo_report.json"));
  ASSERT_EQ(report["notes"].size(), 1u);
  EXPECT_THAT(report["notes"][0].get<std::string>(), HasSubstr("Q8_0"));
  // The folder has the file's tokenizer and answers as the file does.
  const Outcome again = run("generate -m " + path("int8") + " -p 'the sea' -n 6 --temp 0 --json");
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(Json::parse(again.out)["ids"], Json::parse(text.out)["ids"]);
  EXPECT_EQ(run("plan -m " + model).code, 0);
  const Outcome wrong = run("generate -m " + folder.write("bad.gguf", "GGUF").string() + " -p x");
  EXPECT_EQ(wrong.code, 3);
  EXPECT_THAT(wrong.err, HasSubstr("bad.gguf: ends inside the version"));
  const Outcome other =
      run("generate -m " + model + " --tokenizer " + (kSource / "models/demo").string() + " -p x");
  EXPECT_EQ(other.code, 3);  // 4096 tokens, 307 rows
  EXPECT_THAT(other.err, HasSubstr("the embedding only 307 rows"));
}

TEST_F(QuantizeProgram, MultipleChoice) {
  const std::string questions =
      folder
          .write("q.jsonl",
                 "{\"question\": \"Once upon\", \"choices\": [\"a time\", \"zq xv jj\"], \"answer\": 0}\n")
          .string();
  const Outcome r = run("eval --multiple-choice " + questions + " --json");
  ASSERT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(Json::parse(r.out)["acc"], 1.0);
  EXPECT_EQ(Json::parse(r.out)["acc_norm"], 1.0);
  EXPECT_THAT(run("eval --multiple-choice " + questions).out, HasSubstr("length-normalised 1.0000"));
  EXPECT_EQ(run("eval").code, 2);
  EXPECT_EQ(run("eval --multiple-choice /no/such/file").code, 3);
}

// What octavo writes, read by the compressed-tensors and safetensors packages (tools/check_checkpoint.py).
TEST_F(QuantizeProgram, OtherPackagesReadTheSameValues) {
  const char* named = std::getenv("OCTAVO_PYTHON");
  const std::string python = named ? named : (kSource / "../venv-torch/bin/python").string();
  if (shell(python + " -c 'import compressed_tensors, safetensors'").code != 0)
    GTEST_SKIP() << python << " has no compressed-tensors and safetensors (OCTAVO_PYTHON names another)";
  const std::string tiny = (kSource / "tests/goldens/llama_tiny").string();
  ASSERT_EQ(run("quantize -m " + tiny + " -o " + path("int8") + " --no-eval").code, 0);
  const Outcome r = shell(python + " " + (kSource / "tools/check_checkpoint.py").string() + " " + tiny + " " +
                          path("int8"));
  EXPECT_EQ(r.code, 0) << r.out << r.err;
  EXPECT_THAT(r.out, HasSubstr("21 linear layers: codes, scales and values are equal"));
}

}  // namespace
}  // namespace octavo
