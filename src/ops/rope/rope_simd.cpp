// All heads of a token turn by the same angles: cosines and sines are made once, for up to kBlock pairs at a time, and
// used by every head. Bound by memory for many heads, by the cosines for one.
#include "ops/rope/rope_simd.h"

#include "simd/trig.h"
#include "simd/vec.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int64_t kBlock = 256;  // pairs

// Of the pairs [first, first + n), n <= kBlock. Interleaved: each cosine twice, each sine as -sin, +sin, so that a
// vector of pairs (a, b) turns as v * cosine + swap_pairs(v) * sine.
struct Rotation {
  alignas(64) float cosine[2 * kBlock + 2 * kLanes];
  alignas(64) float sine[2 * kBlock + 2 * kLanes];
};

void fill_rotation(const RopeToken& token, int64_t first, int64_t n, Rotation& rotation) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const Mask m = first_lanes(n - i);
    const F32 angle = mul(set1(token.position), load(token.inv_freq + first + i, m));
    const SinCos turn = sin_cos(angle);
    store(rotation.cosine + i, mul(turn.cos, set1(token.factor)));
    store(rotation.sine + i, mul(turn.sin, set1(token.factor)));
  }
  for (int64_t i = 0; i < n;
       ++i) {  // angles that sin_cos is not made for: positions above 2^17, odd frequencies, NaN
    const float angle = token.position * token.inv_freq[first + i];
    if (__builtin_fabsf(angle) <= kLargestAngle) continue;
    rotation.cosine[i] = static_cast<float>(__builtin_cos(static_cast<double>(angle))) * token.factor;
    rotation.sine[i] = static_cast<float>(__builtin_sin(static_cast<double>(angle))) * token.factor;
  }
  if (!token.interleaved) return;
  for (int64_t i = n - 1; i >= 0; --i) {
    const float c = rotation.cosine[i], s = rotation.sine[i];
    rotation.cosine[2 * i] = rotation.cosine[2 * i + 1] = c;
    rotation.sine[2 * i] = -s, rotation.sine[2 * i + 1] = s;
  }
}

// a: [n], b: [n], the halves of one head.
void rotate_halves(const float* a, const float* b, float* a_out, float* b_out, int64_t n,
                   const Rotation& rotation) {
  const auto rotate = [&](F32 a_i, F32 b_i, int64_t i, auto&& put) {
    const F32 c = load(rotation.cosine + i), s = load(rotation.sine + i);
    put(a_out + i, sub(mul(a_i, c), mul(b_i, s)));
    put(b_out + i, add(mul(b_i, c), mul(a_i, s)));
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    rotate(load(a + i), load(b + i), i, [](float* p, F32 v) { store(p, v); });
  if (i < n) {
    const Mask m = first_lanes(n - i);
    rotate(load(a + i, m), load(b + i, m), i, [m](float* p, F32 v) { store(p, v, m); });
  }
}

// x: [2 * n], pairs side by side.
void rotate_pairs(const float* x, float* out, int64_t n, const Rotation& rotation) {
  const auto rotate = [&](F32 v, int64_t i) {
    return add(mul(v, load(rotation.cosine + i)), mul(swap_pairs(v), load(rotation.sine + i)));
  };
  int64_t i = 0;
  for (; i + kLanes <= 2 * n; i += kLanes) store(out + i, rotate(load(x + i), i));
  if (i < 2 * n) {
    const Mask m = first_lanes(2 * n - i);
    store(out + i, rotate(load(x + i, m), i), m);
  }
}

}  // namespace

void rope_token(const RopeToken& token) {
  Rotation rotation;
  for (int64_t first = 0; first < token.pairs; first += kBlock) {
    const int64_t n = token.pairs - first < kBlock ? token.pairs - first : kBlock;
    fill_rotation(token, first, n, rotation);
    for (int64_t h = 0; h < token.heads; ++h) {
      const float* x = token.x + h * token.x_head_stride;
      float* out = token.out + h * token.out_head_stride;
      if (token.interleaved)
        rotate_pairs(x + 2 * first, out + 2 * first, n, rotation);
      else
        rotate_halves(x + first, x + token.pairs + first, out + first, out + token.pairs + first, n,
                      rotation);
    }
  }
  if (token.x == token.out) return;
  for (int64_t h = 0; h < token.heads; ++h)
    for (int64_t c = 2 * token.pairs; c < token.width; ++c)
      token.out[h * token.out_head_stride + c] = token.x[h * token.x_head_stride + c];
}

}  // namespace octavo::OCTAVO_ISA
