// What flows between the steps of encoding: pieces of text in order, some of them already a token.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>

namespace octavo::tokenizer {

struct Piece {
  std::string_view text;
  int32_t id = -1;        // an added token; -1: text still to be encoded
  bool at_start = false;  // its first character comes from the first character of the input
};

// Takes the pieces of a step one after the other, so that no step keeps them all: a mebibyte of digits is a million pieces.
using PieceSink = std::function<void(const Piece&)>;

// Owns the texts that steps have rewritten until the call ends.
class TextStore {
 public:
  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }

 private:
  std::deque<std::string> texts_;
};

}  // namespace octavo::tokenizer
