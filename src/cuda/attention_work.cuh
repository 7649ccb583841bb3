// Which rows and keys a block of an attention kernel works on. A tile is kRows rows of one sequence and one pack of query
// heads: row r is token r >> pack_shift, head r % pack of the pack (packing fills tiles when a sequence has few queries;
// pack_shift 0: rows are tokens). Lengths lie on the device, so every block finds its tiles itself, the same in all roles.
//   static persistent: items in the order (sequence, pack, tile), item i belongs to block i % gridDim.x
//   causal without a window: an item is the n-th longest and the n-th shortest tile of a sequence, so that all items of equal
//   sequences weigh the same, and neighbours share K and V in L2 (not where every tile can have a block of its own).
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "cuda/ptx/global_memory.cuh"

namespace octavo::cuda {

// What every attention kernel knows of a call.
struct AttentionSizes {
  const int32_t* q_start;  // [B + 1] rows of q, device
  const int32_t* kv_len;   // [B] keys, device
  int sequences;           // B
  int tokens;              // rows of q, of all sequences
  int q_heads, kv_heads;
  int pack_shift;  // 1 << pack_shift query heads share the rows of a tile; they share a KV head
  bool causal;
  int window;  // 0: none

  __host__ __device__ int packs() const { return q_heads >> pack_shift; }
};

// Blocks that can have work: each sequence may leave a tile with one row.
template <int kRows>
int64_t most_attention_tiles(const AttentionSizes& s) {
  const int64_t rows = static_cast<int64_t>(s.tokens) << s.pack_shift;
  return s.packs() * ((rows + static_cast<int64_t>(kRows - 1) * s.sequences) / kRows);
}

struct AttentionTile {
  int sequence, head, kv_head;  // head: first of the pack
  int first_token;              // row of q and out of the sequence's first query
  int queries, keys;            // Sq, Sk
  int row;                      // first row within the sequence
};

// Keys [first, end) that a query sees; empty when end <= first.
struct KeyRange {
  int first, end;
};
__device__ __forceinline__ KeyRange keys_of_token(const AttentionSizes& s, const AttentionTile& t,
                                                  int token) {
  const int own = token + t.keys - t.queries;
  return {s.window > 0 ? max(own + 1 - s.window, 0) : 0, s.causal ? min(own + 1, t.keys) : t.keys};
}

// Tiles of kKeys keys, [first, end), of which some row in [row, row + rows) sees a key, and those of them in which some
// row does not see every key: index below unmasked_first, or unmasked_end and up.
struct KeyTiles {
  int first, end, unmasked_first, unmasked_end;

  __device__ __forceinline__ int count() const { return max(end - first, 0); }
  __device__ __forceinline__ bool is_masked(int tile) const {
    return tile < unmasked_first || tile >= unmasked_end;
  }
};
template <int kKeys>
__device__ __forceinline__ KeyTiles key_tiles(const AttentionSizes& s, const AttentionTile& t, int row,
                                              int rows) {
  const int token = row >> s.pack_shift;
  const int last = min((row + rows - 1) >> s.pack_shift, t.queries - 1);
  if (token > last) return {0, 0, 0, 0};  // the sequence's last tile: nothing left for these rows
  const KeyRange low = keys_of_token(s, t, token), high = keys_of_token(s, t, last);
  if (high.end <= low.first) return {0, 0, 0, 0};
  return {low.first / kKeys, (high.end + kKeys - 1) / kKeys, (high.first + kKeys - 1) / kKeys,
          max(low.end, 0) / kKeys};
}

// Queries of the longest sequence; the whole warp calls. Brings the lengths, keys' too, into the first-level cache.
__device__ __forceinline__ int longest_queries(const AttentionSizes& s) {
  if (s.sequences == 1) return s.tokens;
  int longest = 0;
  for (int b = static_cast<int>(threadIdx.x) % 32; b < s.sequences; b += 32)
    ptx::touch(s.kv_len + b), longest = max(longest, s.q_start[b + 1] - s.q_start[b]);
  return __reduce_max_sync(~0u, longest);
}

template <int kRows>
class AttentionWork {
 public:
  // first: the item that this block begins with, a permutation of the blocks.
  __device__ __forceinline__ explicit AttentionWork(const AttentionSizes& sizes,
                                                    int first = static_cast<int>(blockIdx.x))
      : item_(first) {
    const int tiles = tiles_of(sizes, longest_queries(sizes)), packs = sizes.sequences * sizes.packs();
    folds_ = sizes.causal && sizes.window == 0 && packs * tiles > static_cast<int>(gridDim.x);
    per_pack_ = folds_ ? (tiles + 1) / 2 : tiles;
    items_ = packs * per_pack_;
  }

  // The next tile of this block. The whole warp calls.
  __device__ __forceinline__ bool next(const AttentionSizes& sizes, AttentionTile& t) {
    if (short_tile_ >= 0) {
      t.row = short_tile_ * kRows, short_tile_ = -1;
      return true;
    }
    while (item_ < items_) {
      const int pack = item_ / per_pack_, at = item_ - pack * per_pack_;
      item_ += static_cast<int>(gridDim.x);
      t.sequence = pack / sizes.packs();
      t.first_token = sizes.q_start[t.sequence];
      t.queries = sizes.q_start[t.sequence + 1] - t.first_token;
      t.keys = sizes.kv_len[t.sequence];
      const int tiles = tiles_of(sizes, t.queries);
      const int tile = folds_ ? tiles - 1 - at : at;
      if (tile < (folds_ ? at : 0) || tile >= tiles) continue;
      t.head = (pack - t.sequence * sizes.packs()) << sizes.pack_shift;
      t.kv_head = t.head / (sizes.q_heads / sizes.kv_heads);
      t.row = tile * kRows;
      if (folds_ && at < tile) short_tile_ = at;
      return true;
    }
    return false;
  }

 private:
  __device__ __forceinline__ static int tiles_of(const AttentionSizes& sizes, int queries) {
    return ((queries << sizes.pack_shift) + kRows - 1) / kRows;
  }
  int item_, items_, per_pack_, short_tile_ = -1;
  bool folds_;
};

}  // namespace octavo::cuda
