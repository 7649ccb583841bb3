// Private to formats: nlohmann's event parser with what it lacks, the position of an event and short error
// texts.
#pragma once
#include <cstddef>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "core/error.h"

namespace octavo::json_sax {

// Walks a text and leaves its position behind, where event handlers can read it.
class TrackedIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackedIterator(const char* at, const char** position) : at_(at), position_(position) {}
  reference operator*() const { return *at_; }
  TrackedIterator& operator++() {
    *position_ = ++at_;
    return *this;
  }
  TrackedIterator operator++(int) {
    TrackedIterator old = *this;
    ++*this;
    return old;
  }
  bool operator==(const TrackedIterator& o) const { return at_ == o.at_; }
  bool operator!=(const TrackedIterator& o) const { return at_ != o.at_; }

 private:
  const char* at_;
  const char** position_;
};

// Base of the event handlers: they throw through `fail`, so every event that returns has succeeded.
class Handler {
 public:
  Handler(std::string_view text, const std::string& name)
      : text_(text), position_(text.data()), name_(name) {}

  [[noreturn]] void fail(
      const std::string& problem) const;  // bad_model: "<name>: line 3, column 7: <problem>"
  bool parse_error(size_t position, const std::string& last_token, const nlohmann::json::exception& e);
  bool binary(nlohmann::json::binary_t&) { fail("binary values are not JSON"); }

 protected:
  std::string_view text_;
  const char* position_;  // just behind the token of the current event
  const std::string& name_;

  template <class Derived>
  friend void parse(Derived& handler);
};

// Runs the parser over the handler's text; throws bad_model.
template <class Derived>
void parse(Derived& handler) {
  const std::string_view text = handler.text_;
  // NOTE: nlohmann takes a NUL byte for the end of its input and would leave what follows unread.
  if (text.find('\0') != text.npos) handler.fail("not valid JSON: it holds a NUL byte");
  const char** position = &handler.position_;
  nlohmann::json::sax_parse(TrackedIterator(text.data(), position),
                            TrackedIterator(text.data() + text.size(), position), &handler);
}

}  // namespace octavo::json_sax
