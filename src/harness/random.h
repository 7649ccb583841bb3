// Counter-based random numbers: element i of a stream depends on (seed, i) only, so CI can regenerate any test's data.
#pragma once
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace octavo::harness {

inline uint64_t mix(uint64_t x) {  // splitmix64's finaliser
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}
inline uint64_t random_bits(uint64_t seed, uint64_t i) {
  return mix(mix(seed) ^ (i * 0xd1342543de82ef95ull));
}
inline double random_uniform(uint64_t seed, uint64_t i) {
  return static_cast<double>(random_bits(seed, i) >> 11) * 0x1p-53;
}
inline double random_normal(uint64_t seed, uint64_t i) {
  const double u = 1.0 - random_uniform(seed, 2 * i), v = random_uniform(seed, 2 * i + 1);
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}
// Seed of a case from its name (FNV-1a), so that a failing case is replayed by name alone.
inline uint64_t seed_of(std::string_view name) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (char c : name) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  return h;
}

}  // namespace octavo::harness
