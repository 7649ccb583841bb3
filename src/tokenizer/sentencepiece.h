// SentencePiece's own way with blanks (sentencepiece/src/normalizer.cc, sentencepiece_processor.cc), for model files that come
// without a tokenizer.json.
#pragma once
#include <memory>

#include "tokenizer/decoder.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/sentencepiece_file.h"

namespace octavo::tokenizer {

// Rewrites by the charsmap (longest rule first), removes extra blanks, writes blanks as U+2581, one of them in front.
std::unique_ptr<Normalizer> make_sentencepiece_normalizer(const SentencePieceFile& file);

// Pieces to text: U+2581 to blanks, byte pieces to characters, without the blank that was put in front.
std::unique_ptr<DecoderStep> make_sentencepiece_decoder(const SentencePieceFile& file);

}  // namespace octavo::tokenizer
