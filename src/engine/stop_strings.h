// Finds stop strings in streamed text: text that could still become a stop string is held back, so that
// neither a part of one leaks nor the text before it is lost.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace octavo {

class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);  // empty strings are dropped
  // Takes the next piece and returns what may be shown. Once stopped() it returns nothing more.
  std::string push(std::string_view piece);
  std::string finish();  // what was held back, when the text ends without a stop string
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace octavo
