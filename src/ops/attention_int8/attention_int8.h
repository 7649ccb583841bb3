// Attention in INT8: q, k and v are codes with scales, both products run on s32 sums, softmax between them in fp32.
//   y[j] = float(sum_d q[d] k[j][d]) * k_scale[j],  x[j] = y[j] * q_scale * scale * log2(e) for the keys j that the row sees
// Keys come in tiles of kInt8TileKeys, by absolute index. Of a tile, top = max x and p[j] = round(255 *
// 2^(x[j] - top)) in u8; its sums p.v are s32, exact. Tiles merge in ascending order:
//   m' = max(m, top), o = o 2^(m - m') + float(p.v) (v_scale 2^(top - m')), l likewise with sum p;  out = o / l
// GQA: query head h reads KV head h / (Hq / Hkv). Causal is bottom-right aligned: query i sees keys j <= i + Sk - Sq.
// A row that sees nothing gives 0 and LSE -inf. A NaN scale (quantizer.h: a row with NaN or Inf) makes the rows that see it NaN.
#pragma once
#include "core/context.h"

namespace octavo {

inline constexpr int64_t kInt8PageKeys = 64;  // v codes: [page][D][64]

// Keys of a tile: the same on every backend, since P is rounded against the largest score of a tile.
inline constexpr int64_t kInt8TileKeys = 256;

// Where key `k` of a page lies in a row of v codes: the order in which the tensor cores leave scores in registers, so that
// P goes from them into the second product as it is.
OCTAVO_HD constexpr int int8_key_slot(int k) {
  const int in = k % 16;
  return k - in + in % 8 / 2 * 4 + in / 8 * 2 + in % 2;
}

struct AttentionInt8Args {
  ConstTensor q;        // [B, Hq, Sq, D] i8, dense; D is 16 to 256, a multiple of 16
  ConstTensor q_scale;  // [B, Hq, Sq] f32, dense
  ConstTensor k;        // [B, Hkv, Sk, D] i8, dense
  ConstTensor k_scale;  // [B, Hkv, Sk] f32, dense
  // [B, Hkv, ceil(Sk / 64), D * 64] i8, dense: pages of 64 keys, transposed, key k of a page in slot int8_key_slot(k)
  ConstTensor v;
  // [B, Hkv, tiles, D] f32, any stride, 0 included: per tile and channel, per channel ({.., .., 0, 1}), per head ({.., .., 0, 0})
  ConstTensor v_scale;
  bool causal = false;
  float scale = 0.0f;  // of scores, above 0; usually 1 / sqrt(D)
  Tensor out;          // [B, Hq, Sq, D] f16 | bf16 | f32, unit stride in D, any other
  Tensor lse;          // optional: [B, Hq, Sq] f32, dense, natural logarithm
};

void attention_int8(const Context& ctx, const AttentionInt8Args& args);
KernelInfo attention_int8_variant(const Context& ctx, const AttentionInt8Args& args);

// Floats to what attention_int8 takes: q and k a scale each row, v a scale each tile and channel, by core/quantizer.h. One read of
// each, one launch. V's slots behind the last key are 0.
struct AttentionInt8QuantizeArgs {
  ConstTensor q, k,
      v;  // [B, Hq | Hkv | Hkv, Sq | Sk | Sk, D] f16 | bf16 | f32, the same; unit stride in D, any other
  Tensor q_codes, q_scale, k_codes, k_scale, v_codes;  // as AttentionInt8Args has them
  Tensor v_scale;                                      // [B, Hkv, tiles, D] f32, dense
};

void attention_int8_quantize(const Context& ctx, const AttentionInt8QuantizeArgs& args);

// The whole call: attention of floats, quantised into the workspace on the way.
struct AttentionInt8FloatArgs {
  ConstTensor q, k, v;  // as above
  bool causal = false;
  float scale = 0.0f;
  Tensor out, lse;  // as AttentionInt8Args has them
};

int64_t attention_int8_floats_workspace_bytes(const Context& ctx, const AttentionInt8FloatArgs& args);
void attention_int8_floats(const Context& ctx, const AttentionInt8FloatArgs& args);

}  // namespace octavo
