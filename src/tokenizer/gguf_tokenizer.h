// The tokenizer inside a GGUF file, written out as the tokenizer.json that Hugging Face has for the same vocabulary:
//   tokenizer.ggml.model "gpt2"   byte-level BPE; tokenizer.ggml.pre names the pattern that splits words
//   tokenizer.ggml.model "llama"  SentencePiece BPE: the merges follow from the pieces and their scores, as transformers
//                                 converts such models
// Errors: bad_model naming the file and the key; any other kind of tokenizer asks for `--tokenizer DIR`.
#pragma once
#include <string>

#include "formats/gguf.h"
#include "tokenizer/tokenizer.h"

namespace octavo {

struct TokenizerText {
  std::string tokenizer_json, config_json;  // tokenizer.json and tokenizer_config.json
};

TokenizerText gguf_tokenizer_text(const GgufFile& file);
Tokenizer load_gguf_tokenizer(const GgufFile& file);

}  // namespace octavo
