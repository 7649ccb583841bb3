// The fuzz targets: each takes any bytes. `./dev fuzz NAME SECONDS` runs one under libFuzzer (clang); fuzz_corpus_test runs
// every input of corpus/ through them in the ordinary build. What a target throws is a finding.
#pragma once
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

#include "core/error.h"

namespace octavo::fuzz {

// Whether the input was accepted by what it was given to (false: refused with an error of the right kind).
bool safetensors(std::string_view input);     // one .safetensors file, or its header alone
bool shard_index(std::string_view input);     // model.safetensors.index.json over two shards
bool config_json(std::string_view input);     // config.json of a model folder
bool tokenizer_json(std::string_view input);  // a tokenizer.json; then texts through it
bool encode_decode(std::string_view input);   // a text through one of the recorded tokenizers
bool detokenizer(std::string_view input);     // ids through the incremental detokeniser
bool sentencepiece(std::string_view input);   // a SentencePiece model file; then texts through it
bool gguf(std::string_view input);            // a .gguf file
bool chat_template(std::string_view input);   // a chat template, rendered

struct Target {
  const char* name;
  bool (*run)(std::string_view);
};
inline constexpr Target kTargets[] = {{"safetensors", safetensors},     {"shard_index", shard_index},
                                      {"config_json", config_json},     {"tokenizer_json", tokenizer_json},
                                      {"encode_decode", encode_decode}, {"detokenizer", detokenizer},
                                      {"sentencepiece", sentencepiece}, {"gguf", gguf},
                                      {"chat_template", chat_template}};

inline void require(bool holds, const std::string& what) {
  if (!holds) throw std::logic_error("fuzz: " + what);
}

// Runs `body`; an Error of one of `kinds` is a proper answer to bad input (false), everything else leaves as it is.
template <class Body>
bool accepted(std::initializer_list<ErrorKind> kinds, Body&& body) {
  try {
    body();
    return true;
  } catch (const Error& e) {
    for (const ErrorKind kind : kinds)
      if (e.kind() == kind) {
        require(e.what()[0] != '\0', "an error without a message");
        return false;
      }
    throw;
  }
}

}  // namespace octavo::fuzz
