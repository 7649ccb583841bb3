#include "engine/stop_strings.h"

#include <algorithm>

namespace octavo {

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& s) { return s.empty(); });
}

std::string StopStrings::push(std::string_view piece) {
  if (stopped_) return {};
  held_ += piece;
  size_t stop_at = std::string::npos;
  for (const auto& stop : stops_) stop_at = std::min(stop_at, held_.find(stop));
  size_t keep_from = held_.size();  // start of the longest tail that begins some stop string
  if (stop_at != std::string::npos) {
    stopped_ = true;
    keep_from = stop_at;
  } else {
    for (const auto& stop : stops_)
      for (size_t n = std::min(stop.size() - 1, held_.size()); n > 0; --n)
        if (held_.compare(held_.size() - n, n, stop, 0, n) == 0) {
          keep_from = std::min(keep_from, held_.size() - n);
          break;
        }
  }
  std::string shown = held_.substr(0, keep_from);
  held_.erase(0, keep_from);
  if (stopped_) held_.clear();
  return shown;
}

std::string StopStrings::finish() {
  std::string rest;
  rest.swap(held_);
  return rest;
}

}  // namespace octavo
