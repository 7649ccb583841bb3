#include "fuzz/recorded_tokenizers.h"

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "fuzz/targets.h"
#include "tokenizer/utf8.h"

namespace octavo::fuzz {
namespace {

using nlohmann::json;

std::vector<RecordedTokenizer> read() {
  std::ifstream file(OCTAVO_SOURCE_DIR "/tests/goldens/tokenizer_small.jsonl");
  std::map<std::string, json> models;
  std::vector<RecordedTokenizer> all;
  for (std::string line; std::getline(file, line);) {
    json entry = json::parse(line);
    if (entry.contains("model")) {
      json model = entry.contains("like") ? models.at(entry["like"]) : json::object();
      model.update(entry["json"]);
      models[entry["model"]] = std::move(model);
      continue;
    }
    json document = entry["json"];
    document["model"] = models.at(document["model"]);
    const std::string name = entry["tokenizer"];
    const bool lossless = name == "gpt2" || name == "llama3" || name == "o200k" || name == "several splits";
    all.push_back({name, Tokenizer::parse(document.dump(), name), lossless});
  }
  require(all.size() > 10, "tests/goldens/tokenizer_small.jsonl is missing");
  return all;
}

}  // namespace

const std::vector<RecordedTokenizer>& recorded_tokenizers() {
  static const std::vector<RecordedTokenizer> all = read();
  return all;
}

std::string streamed(const Tokenizer& tokenizer, std::span<const int32_t> ids, bool skip_special) {
  StreamDecoder stream(tokenizer, skip_special);
  std::string text;
  const auto take = [&](const std::string& part) {
    require(tokenizer::first_invalid_utf8(part) == std::string::npos, "half a character is handed out");
    text += part;
  };
  for (const int32_t id : ids) take(stream.push(id));
  take(stream.finish());
  require(text == tokenizer.decode(ids, skip_special), "the stream is not what decode gives");
  return text;
}

}  // namespace octavo::fuzz
