// Post-processors: the ids that stand around a text.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "tokenizer/json_node.h"

namespace octavo::tokenizer {

class PostProcessor {
 public:
  PostProcessor() = default;  // adds nothing
  // `is_known`: whether some token has this id. Throws bad_model naming what is not supported.
  PostProcessor(const JsonNode& node, const std::function<bool(int64_t)>& is_known);
  PostProcessor(std::vector<int32_t> before, std::vector<int32_t> after)
      : parts_{{false, std::move(before)}, {true, {}}, {false, std::move(after)}} {}
  std::vector<int32_t> apply(std::vector<int32_t> text_ids, bool add_special_tokens) const;

 private:
  struct Part {
    bool is_text;
    std::vector<int32_t> ids;
  };
  void read(const JsonNode& node, const std::function<bool(int64_t)>& is_known);
  void read_template(const JsonNode& node, const std::function<bool(int64_t)>& is_known);
  void set_template(const JsonNode& node, std::vector<Part> parts);

  std::vector<Part> parts_;  // empty: the text alone
};

}  // namespace octavo::tokenizer
