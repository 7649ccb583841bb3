#include "model/rope_scaling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "formats/json_file.h"
#include "model/model_config.h"

namespace octavo {
namespace {

using Kind = RopeScaling::Kind;

Kind read_kind(const ConfigObject& rope) {
  const std::string type = rope.string_or("rope_type", rope.string_or("type", "default"));
  if (type == "default") return Kind::none;
  if (type == "linear") return Kind::linear;
  if (type == "dynamic") return Kind::dynamic;
  if (type == "llama3") return Kind::llama3;
  // The first Phi-3 files call longrope "su" or "yarn".
  if (type == "longrope" || type == "su" || (type == "yarn" && rope.has("short_factor")))
    return Kind::longrope;
  if (type == "yarn") return Kind::yarn;
  rope.fail("rope_type", "one of: default, linear, dynamic, yarn, llama3, longrope");
}

// 0.1 m ln(s) + 1, the temperature of yarn.
double yarn_temperature(double scale, double m) { return scale <= 1 ? 1.0 : 0.1 * m * std::log(scale) + 1.0; }

float yarn_attention_factor(const ConfigObject& rope, double factor) {
  if (rope.has("attention_factor")) return static_cast<float>(rope.number("attention_factor", 1e-3, 1e3));
  const double m = rope.number_or("mscale", 0.0, 0.0, 1e3),
               all = rope.number_or("mscale_all_dim", 0.0, 0.0, 1e3);
  return static_cast<float>(m > 0 && all > 0 ? yarn_temperature(factor, m) / yarn_temperature(factor, all)
                                             : yarn_temperature(factor, 1.0));
}

float longrope_attention_factor(const ConfigObject& rope, double factor, int64_t original) {
  if (rope.has("attention_factor")) return static_cast<float>(rope.number("attention_factor", 1e-3, 1e3));
  if (factor <= 1 || original <= 1) return 1.0f;
  return static_cast<float>(std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original))));
}

// One divisor for each of `pairs` frequencies.
std::vector<float> read_factors(const ConfigObject& rope, const std::string& key, int64_t pairs) {
  const std::string expected =
      fmt::format("{} positive numbers, one for each pair of rotated elements", pairs);
  if (!rope.has(key) || !rope.json()[key].is_array() ||
      static_cast<int64_t>(rope.json()[key].size()) != pairs)
    rope.fail(key, expected);
  std::vector<float> factors;
  for (const auto& value : rope.json()[key]) {
    if (!value.is_number() || !(value.get<double>() >= 1e-3) || !(value.get<double>() <= 1e6))
      rope.fail(key, expected);
    factors.push_back(value.get<float>());
  }
  return factors;
}

RopeScaling read_scaling(const ConfigObject& config, const ConfigObject& rope, const ModelConfig& c) {
  RopeScaling s;
  s.kind = read_kind(rope);
  if (s.kind == Kind::none) return s;
  // Phi-3 keeps the length of the training at the top level, and that one counts.
  const int64_t pairs = c.rotary_dim() / 2,
                stated = rope.integer_or("original_max_position_embeddings", c.max_positions);
  s.original_max_positions = s.kind == Kind::dynamic
                                 ? c.max_positions
                                 : config.integer_or("original_max_position_embeddings", stated);
  const bool from_lengths = (s.kind == Kind::yarn || s.kind == Kind::longrope) && !rope.has("factor");
  s.factor = from_lengths
                 ? static_cast<double>(c.max_positions) / static_cast<double>(s.original_max_positions)
                 : rope.number("factor", 1e-3, 1e6);
  if (s.kind == Kind::llama3) {
    s.low_freq_factor = rope.number("low_freq_factor", 1e-6, 1e6);
    s.high_freq_factor = rope.number("high_freq_factor", 1e-6, 1e6);
    if (s.high_freq_factor <= s.low_freq_factor)
      rope.fail("high_freq_factor", "a number above low_freq_factor");
  }
  if (s.kind == Kind::yarn) {
    s.beta_fast = rope.number_or("beta_fast", 32.0, 1e-3, 1e6);
    s.beta_slow = rope.number_or("beta_slow", 1.0, 1e-3, 1e6);
    s.truncate = rope.boolean_or("truncate", true);
    s.attention_factor = yarn_attention_factor(rope, s.factor);
  }
  if (s.kind == Kind::longrope) {
    s.short_factor = read_factors(rope, "short_factor", pairs);
    s.long_factor = read_factors(rope, "long_factor", pairs);
    s.attention_factor = longrope_attention_factor(rope, s.factor, s.original_max_positions);
  }
  if (s.kind == Kind::dynamic && pairs < 2)
    rope.fail("rope_type", "another scaling: dynamic needs 4 rotated elements");
  return s;
}

// Share of pair i that keeps its frequency under yarn: 1 below the ramp, 0 above it.
std::vector<double> yarn_kept(const RopeScaling& s, int64_t dim, double theta) {
  const auto pair_that_turns = [&](double rotations) {  // this often within the training context
    return static_cast<double>(dim) *
           std::log(static_cast<double>(s.original_max_positions) / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = pair_that_turns(s.beta_fast), high = pair_that_turns(s.beta_slow);
  if (s.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;
  std::vector<double> kept;
  for (int64_t i = 0; i < dim / 2; ++i)
    kept.push_back(1 - std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0));
  return kept;
}

// Long wavelengths are stretched by `factor`, short ones kept, those between interpolated (Llama 3.1).
double llama3_kept(const RopeScaling& s, double frequency) {
  const double turns = static_cast<double>(s.original_max_positions) * frequency / (2 * std::numbers::pi);
  return std::clamp((turns - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor), 0.0, 1.0);
}

}  // namespace

void read_rope(const ConfigObject& config, ModelConfig& c) {
  const ConfigObject rope = config.has("rope_parameters") ? config.object("rope_parameters")
                            : config.has("rope_scaling")  ? config.object("rope_scaling")
                                                          : config;
  c.rope_theta =
      rope.number_or("rope_theta", config.number_or("rope_theta", c.rope_theta, 1.0, 1e12), 1.0, 1e12);
  const double share = config.number_or("partial_rotary_factor", c.rotary_fraction, 0.0, 1.0);
  c.rotary_fraction = rope.number_or("partial_rotary_factor", share, 0.0, 1.0);
  if (c.rotary_dim() % 2 != 0 || c.rotary_dim() == 0)
    config.fail(
        c.rotary_fraction < 1 ? "partial_rotary_factor" : "head_dim",
        fmt::format("an even number of rotated elements (rotary embedding pairs them), it gives {} of {}",
                    c.rotary_dim(), c.head_dim));
  if (!config.has("rope_parameters") && !config.has("rope_scaling")) return;
  c.rope_scaling = read_scaling(config, rope, c);
  const RopeScaling& s = c.rope_scaling;
  if (s.kind == Kind::dynamic || s.kind == Kind::yarn)
    c.max_positions = std::max(c.max_positions,
                               static_cast<int64_t>(std::min(
                                   static_cast<double>(s.original_max_positions) * s.factor, 2147483647.0)));
}

std::vector<float> rope_inv_freq(const ModelConfig& c, int64_t length) {
  const RopeScaling& s = c.rope_scaling;
  const int64_t dim = c.rotary_dim();
  const bool longer = length > s.original_max_positions;
  double theta = c.rope_theta;
  if (s.kind == Kind::dynamic && longer) {
    const double stretch =
        s.factor * static_cast<double>(length) / static_cast<double>(s.original_max_positions);
    theta *= std::pow(stretch - (s.factor - 1), static_cast<double>(dim) / static_cast<double>(dim - 2));
  }
  const std::vector<double> yarn = s.kind == Kind::yarn ? yarn_kept(s, dim, theta) : std::vector<double>();
  std::vector<float> inv_freq(static_cast<size_t>(dim / 2));
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    double f = 1.0 / std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(dim));
    if (s.kind == Kind::linear) f /= s.factor;
    if (s.kind == Kind::longrope) f /= longer ? s.long_factor[i] : s.short_factor[i];
    if (s.kind == Kind::yarn || s.kind == Kind::llama3) {
      const double kept = s.kind == Kind::yarn ? yarn[i] : llama3_kept(s, f);
      f = (1 - kept) * f / s.factor + kept * f;
    }
    inv_freq[i] = static_cast<float>(f);
  }
  return inv_freq;
}

}  // namespace octavo
