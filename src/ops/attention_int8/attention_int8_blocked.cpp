// A block is query rows of one KV head: of one query head, or, where those are few, of the whole group, whose codes lie one
// after the other. A row's result depends on no other row, so blocks of any size give the same bits.
#include "ops/attention_int8/attention_int8_blocked.h"

#include <algorithm>
#include <cmath>

#include "core/thread_pool.h"
#include "ops/attention_int8/attention_int8_ref.h"

namespace octavo {
namespace {

constexpr float kLog2OfE = 1.44269504088896341f, kLn2 = 0.693147180559945309f;
constexpr int64_t kLeastRows = 32;       // of a block: below, packing K and V takes the time
constexpr int64_t kBlocksPerThread = 4;  // wanted
constexpr int64_t kSmallWork = 1 << 17;  // multiply-adds that are not worth waking a thread for

struct Split {
  int64_t rows_of_unit, units;    // consecutive query rows that read the same K and V
  int64_t rows_of_block, blocks;  // of a unit
  bool one_thread;

  Split(const Context& ctx, const AttentionInt8Args& a) {
    const int64_t heads = a.q.dim(1), sq = a.q.dim(2), dim = a.q.dim(3), group = heads / a.k.dim(1);
    rows_of_unit = sq < kLeastRows ? sq * group : sq;
    units = a.q.dim(0) * heads * sq / rows_of_unit;
    const int64_t most = std::min(kInt8BlockRows, kInt8BlockElements / round_up(dim, 16) / 16 * 16);
    const int64_t threads = ctx.pool ? ctx.pool->threads() : 1;
    rows_of_block = std::min(most, round_up(rows_of_unit, 16));
    while (rows_of_block >= 2 * kLeastRows &&
           units * ceil_div(rows_of_unit, rows_of_block) < threads * kBlocksPerThread)
      rows_of_block = round_up(rows_of_block / 2, 16);
    blocks = ceil_div(rows_of_unit, rows_of_block);
    one_thread = 2 * a.q.numel() * a.k.dim(2) < kSmallWork;
  }
  static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
  static int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
};

Int8Element element_of(DType dtype) {
  return dtype == DType::f16 ? Int8Element::f16 : dtype == DType::bf16 ? Int8Element::bf16 : Int8Element::f32;
}

// Rows [first, first + rows) of all query rows, counted (b * Hq + h) * Sq + row.
void attend_block(const AttentionInt8Args& a, int64_t first, int64_t rows,
                  void (*attend)(const Int8AttentionRows&)) {
  const int64_t heads = a.q.dim(1), kv_heads = a.k.dim(1), sq = a.q.dim(2), sk = a.k.dim(2), dim = a.q.dim(3);
  const int64_t head = first / sq, b = head / heads, kv_head = head % heads / (heads / kv_heads);
  const int64_t kv = b * kv_heads + kv_head;
  int64_t ends[kInt8BlockRows], out_at[kInt8BlockRows];
  float top[kInt8BlockRows], sum[kInt8BlockRows];
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t row = (first + r) % sq, h = (first + r) / sq % heads;
    ends[r] = attention_int8_visible(a, row);
    out_at[r] = b * a.out.stride(0) + h * a.out.stride(1) + row * a.out.stride(2);
  }
  attend({.q = a.q.as<int8_t>() + first * dim,
          .q_scale = a.q_scale.as<float>() + first,
          .ends = ends,
          .rows = rows,
          .dim = dim,
          .k = a.k.as<int8_t>() + kv * sk * dim,
          .k_scale = a.k_scale.as<float>() + kv * sk,
          .v = a.v.as<int8_t>() + kv * a.v.dim(2) * dim * kInt8PageKeys,
          .v_scale = a.v_scale.as<float>() + b * a.v_scale.stride(0) + kv_head * a.v_scale.stride(1),
          .v_scale_tile = a.v_scale.stride(2),
          .v_scale_channel = a.v_scale.stride(3),
          .scale = a.scale * kLog2OfE,
          .element = element_of(a.out.dtype()),
          .out = a.out.data(),
          .out_at = out_at,
          .top = top,
          .sum = sum});
  if (!a.lse) return;
  for (int64_t r = 0; r < rows; ++r) a.lse.as<float>()[first + r] = top[r] * kLn2 + std::log(sum[r] / 255.0f);
}

constexpr int64_t kRowsOfTask = 64;

// Rows of all heads of x.
void code_rows(const Context& ctx, const ConstTensor& x, const Tensor& codes, const Tensor& scale,
               const Int8Coders& code) {
  const int64_t rows = x.dim(2), dim = x.dim(3), tasks = (rows + kRowsOfTask - 1) / kRowsOfTask;
  parallel_for(ctx.pool, x.dim(0) * x.dim(1) * tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / tasks, b = head / x.dim(1), h = head % x.dim(1), row = i % tasks * kRowsOfTask;
      const int64_t from = b * x.stride(0) + h * x.stride(1) + row * x.stride(2), at = head * rows + row;
      code.rows({.element = element_of(x.dtype()),
                 .from = static_cast<const uint8_t*>(x.data()) + from * size_of(x.dtype()),
                 .pitch = x.stride(2),
                 .rows = std::min(kRowsOfTask, rows - row),
                 .dim = dim,
                 .codes = codes.as<int8_t>() + at * dim,
                 .scale = scale.as<float>() + at});
    }
  });
}

void code_tiles(const Context& ctx, const ConstTensor& v, const Tensor& codes, const Tensor& scale,
                const Int8Coders& code) {
  const int64_t keys = v.dim(2), dim = v.dim(3), pages = codes.dim(2), tiles = scale.dim(2);
  parallel_for(ctx.pool, v.dim(0) * v.dim(1) * tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t head = i / tiles, b = head / v.dim(1), h = head % v.dim(1),
                    key = i % tiles * kInt8TileKeys;
      const int64_t from = b * v.stride(0) + h * v.stride(1) + key * v.stride(2);
      code.tile({.element = element_of(v.dtype()),
                 .from = static_cast<const uint8_t*>(v.data()) + from * size_of(v.dtype()),
                 .pitch = v.stride(2),
                 .keys = std::min(kInt8TileKeys, keys - key),
                 .dim = dim,
                 .pages = codes.as<int8_t>() + (head * pages + key / kInt8PageKeys) * dim * kInt8PageKeys,
                 .scale = scale.as<float>() + i * dim});
    }
  });
}

}  // namespace

void attention_int8_quantize_blocked(const Context& caller, const AttentionInt8QuantizeArgs& a,
                                     const Int8Coders& code) {
  Context ctx = caller;
  if (a.q.numel() + 2 * a.k.numel() < kSmallWork) ctx.pool = nullptr;
  code_rows(ctx, a.q, a.q_codes, a.q_scale, code);
  code_rows(ctx, a.k, a.k_codes, a.k_scale, code);
  code_tiles(ctx, a.v, a.v_codes, a.v_scale, code);
}

void attention_int8_blocked(const Context& ctx, const AttentionInt8Args& a,
                            void (*attend)(const Int8AttentionRows&)) {
  const Split split(ctx, a);
  parallel_for(split.one_thread ? nullptr : ctx.pool, split.units * split.blocks, 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   // The last rows first: causal, they see the most keys.
                   const int64_t unit = i % split.units, block = split.blocks - 1 - i / split.units;
                   const int64_t row = block * split.rows_of_block;
                   attend_block(a, unit * split.rows_of_unit + row,
                                std::min(split.rows_of_block, split.rows_of_unit - row), attend);
                 }
               });
}

}  // namespace octavo
