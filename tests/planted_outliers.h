// A model of the Llama kind with outlier channels put into it, and how far two sets of logits are apart.
#pragma once
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "formats/safetensors_writer.h"
#include "formats/tensor_folder.h"
#include "weights/widen.h"

namespace octavo {

inline constexpr float kOutlier = 60;

// The model of `from`, computing the same, with channels 7 and 31 of every norm's output 60 times as large (and the columns
// that read them as much smaller), and feature 11 of every feed-forward layer likewise. `to` must not exist.
inline void plant_outliers(const std::filesystem::path& from, const std::filesystem::path& to) {
  const TensorFolder files = TensorFolder::open(from);
  std::filesystem::create_directory(to);
  std::filesystem::copy_file(from / "config.json", to / "config.json");
  std::vector<TensorSpec> specs;
  for (const TensorInfo* t : files.tensors()) specs.push_back({t->name, "F32", t->shape});
  SafetensorsWriter writer(to / "model.safetensors", specs);
  for (const TensorInfo* t : files.tensors()) {
    std::vector<float> v = read_as_floats(files, *t);
    const auto columns = static_cast<size_t>(t->shape.back());
    const auto scale_column = [&](size_t c, float by) {
      for (size_t at = c; at < v.size(); at += columns) v[at] *= by;
    };
    const auto in = [&](std::initializer_list<const char*> names) {
      return std::any_of(names.begin(), names.end(),
                         [&](const char* n) { return t->name.find(n) != t->name.npos; });
    };
    if (in({"input_layernorm", "post_attention_layernorm"})) v[7] *= kOutlier, v[31] *= kOutlier;
    if (in({"q_proj.weight", "k_proj.weight", "v_proj.weight", "qkv_proj.weight", "gate_proj", "up_proj"}))
      scale_column(7, 1 / kOutlier), scale_column(31, 1 / kOutlier);
    if (in({"down_proj"})) scale_column(11, 1 / kOutlier);
    if (in({"up_proj"})) {  // a fused matrix has the rows of gate in front
      const size_t row = 11 + (in({"gate_up_proj"}) ? v.size() / columns / 2 : 0);
      for (size_t c = 0; c < columns; ++c) v[row * columns + c] *= kOutlier;
    }
    writer.append(t->name, v.data(), static_cast<int64_t>(v.size()) * 4);
  }
  writer.commit();
}

// Root mean square of the difference over that of b.
inline double relative_error(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    size += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(difference / size);
}

// The largest difference over the largest of b.
inline double worst(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < b.size(); ++i)
    difference = std::max(difference, std::abs(static_cast<double>(a[i]) - b[i])),
    size = std::max<double>(size, std::abs(b[i]));
  return difference / size;
}

}  // namespace octavo
