// The model that `octavo quantize` makes INT8 codes of: the source, or an equivalent of it (--rotate, --smooth) in a
// temporary folder beside the output, which takes 4 bytes a weight on the disk and goes away with this object.
#pragma once
#include <string>
#include <vector>

#include "core/context.h"

namespace octavo::app {

struct TransformRequest {
  std::string source, output, calibration_text, tokenizer;
  bool rotate = false;
  double smooth = -1;  // alpha; below 0: off
  int threads = 0;
  Isa isa = best_isa();
};

class TransformedModel {
 public:
  TransformedModel(const TransformRequest& request, const Context& ctx);
  ~TransformedModel();
  TransformedModel(const TransformedModel&) = delete;
  const std::string& folder() const { return folder_; }  // the source itself when nothing was asked for
  const std::string& description() const { return description_; }  // "--rotate --smooth 0.5"

 private:
  std::string temporary_path(const TransformRequest& request, const char* step);
  std::string folder_, description_;
  std::vector<std::string> temporary_;
};

}  // namespace octavo::app
