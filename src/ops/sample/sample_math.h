// The numbers that every backend must agree on, bit for bit: a token's weight, the random draw, the thresholds.
// Weights are whole numbers, so that their sums do not depend on the order of adding: any tile, thread or GPU order
// gives the same token. Compile without fast-math and with -ffp-contract=off.
#pragma once
#include <bit>
#include <cstdint>

#include "core/dtype.h"

namespace octavo {

// Weight of the most likely token. A token 2^-40 times as likely as that one weighs 0 and is never drawn.
inline constexpr uint64_t kTopWeight = uint64_t{1} << 40;
inline constexpr int64_t kMostTokens = int64_t{1} << 23;  // so that a sum of weights stays below 2^63

// 2^40 e^x rounded to the nearest whole number for -28 < x <= 0, 0 below and for NaN. IEEE double operations in this
// order only (a libm differs between machines), and no branch, so that the compiler makes vectors of it.
OCTAVO_HD inline uint64_t sample_weight(double exponent) {
  const bool counts = exponent > -28.0;  // 2^40 e^-28 < 1
  const double x = counts ? exponent : -28.0;
  const double shifted = x * 1.4426950408889634 + 0x1.8p52;  // adding 1.5 * 2^52 rounds to a whole number
  const double whole = shifted - 0x1.8p52;
  const double r =
      (x - whole * 6.93147180369123816490e-01) - whole * 1.90821492927058770002e-10;  // |r| <= ln 2 / 2
  double p = 1.0 / 6227020800.0;  // Taylor: the rest is below 2^-57
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const double two_to_whole_plus_40 =
      std::bit_cast<double>((std::bit_cast<uint64_t>(shifted) + 1023 + 40) << 52);
  const uint64_t rounded =
      std::bit_cast<uint64_t>(p * two_to_whole_plus_40 + 0x1p52) & ((uint64_t{1} << 52) - 1);
  return counts ? rounded : 0;
}

// Weight of a logit, with the largest logit of all: +inf logits share the top weight.
OCTAVO_HD inline uint64_t logit_weight(float logit, float largest, double inverse_temperature) {
  const uint64_t weight =
      sample_weight((static_cast<double>(logit) - static_cast<double>(largest)) * inverse_temperature);
  return logit == largest ? kTopWeight : weight;
}

// Repetition penalty of one logit (arXiv 1909.05858, as Hugging Face applies it).
OCTAVO_HD inline float penalised(float logit, float penalty) {
  return logit < 0.0f ? logit * penalty : logit / penalty;
}

// Tokens before which tokens of at least this much weight lie are cut by top-p: ceil(top_p * total).
OCTAVO_HD inline uint64_t top_p_weight(float top_p, uint64_t total) {
  const double exact = static_cast<double>(top_p) * static_cast<double>(total);
  const auto whole = static_cast<uint64_t>(exact);
  return static_cast<double>(whole) < exact ? whole + 1 : whole;
}

// Least weight that min-p keeps: ceil(min_p * top weight), exact.
OCTAVO_HD inline uint64_t min_p_weight(float min_p) { return top_p_weight(min_p, kTopWeight); }

// 64 random bits of (seed, step): two rounds of splitmix64's finaliser.
OCTAVO_HD inline uint64_t sample_mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}
OCTAVO_HD inline uint64_t sample_bits(uint64_t seed, uint64_t step) {
  return sample_mix(sample_mix(seed) ^ (step * 0xd1342543de82ef95ull));
}

// floor(bits / 2^64 * total): the draw is the first kept token, by id, with which the running sum exceeds this.
OCTAVO_HD inline uint64_t draw_weight(uint64_t bits, uint64_t total) {
#if defined(__CUDA_ARCH__)
  return __umul64hi(bits, total);
#else
  return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * total) >> 64);
#endif
}

}  // namespace octavo
