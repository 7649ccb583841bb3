// A block is up to kBlockRows query rows of one (sequence, KV head): the GQA group of a few tokens, so that K and V are
// read once for the group. A block walks its 64-key leaves in order; complete subtrees are merged at once, like the
// carries of a binary counter, so that a row keeps log2(leaves) nodes. When there are too few blocks for the threads,
// a block is split into aligned subtrees of leaves, which are items of their own: the tree, and so the bits, stay the same.
#include "ops/attention_f/attention_f_blocked.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/workspace.h"
#include "ops/attention_f/attention_f_ref.h"

namespace octavo {
namespace {

constexpr int64_t kBlockRows = 32;
constexpr int64_t kTileRows = 8;         // from this many rows a 16-bit or INT8 leaf is widened to f32 once
constexpr int64_t kItemsPerThread = 8;   // at most, when blocks are split
constexpr int64_t kSplitLeaves = 4;      // at least, a power of two
constexpr int64_t kSmallWork = 1 << 16;  // multiply-adds that are not worth waking a thread for

struct Layout {
  int64_t group, block_tokens, rows;  // query heads a KV head; tokens and rows a block
  int64_t pitch, node;                // floats of a row of q, K, V or o; of a node
  int64_t depth;                      // nodes that a row keeps at once
  int64_t slot;                       // floats of scratch a slot: q, K tile, V tile, nodes, visible keys
  int64_t partials;                   // blocks x splits whose nodes are kept
  Layout(const Context& ctx, const AttentionFArgs& args) {
    group = args.q.dim(1) / args.kv.heads;
    block_tokens = std::max<int64_t>(1, kBlockRows / group);
    rows = block_tokens * group;
    pitch = round_up(args.q.dim(2), 16);
    node = kNodeHeader + pitch;
    depth = std::bit_width(static_cast<uint64_t>(args.kv.pages_per_sequence)) + 1;
    slot = round_up(rows * pitch + 2 * kLeafKeys * pitch + depth * rows * node + 2 * rows, 16);
    partials = attention_threads(ctx) > 1 ? attention_threads(ctx) * kItemsPerThread : 0;
  }
};

// Tokens [token, token + tokens) of q, all of `sequence`, with the query heads that read KV head `head`.
struct Block {
  int64_t sequence, head, token, tokens;
  int64_t leaf_first, leaf_end;  // leaves that hold a key that some row sees
};

// Leaves [s << level, (s + 1) << level) are split s; one split for all leaves when level is large.
struct Plan {
  int64_t blocks = 0;
  int level = 62;
  int64_t splits = 1;
};

int64_t blocks_of(const AttentionFArgs& args, const Layout& layout, int64_t sequence) {
  const int32_t* q_start = args.q_start.as<int32_t>();
  return (q_start[sequence + 1] - q_start[sequence] + layout.block_tokens - 1) / layout.block_tokens *
         args.kv.heads;
}

Plan make_plan(const Context& ctx, const AttentionFArgs& args, const Layout& layout) {
  Plan plan;
  int64_t most_leaves = 0;
  for (int64_t b = 0; b < args.kv_len.dim(0); ++b) {
    plan.blocks += blocks_of(args, layout, b);
    most_leaves = std::max<int64_t>(most_leaves, (args.kv_len.as<int32_t>()[b] + kLeafKeys - 1) / kLeafKeys);
  }
  if (plan.blocks == 0 || plan.blocks >= 2 * attention_threads(ctx) || layout.partials == 0) return plan;
  int level = std::countr_zero(static_cast<uint64_t>(kSplitLeaves));
  const auto splits_at = [&](int at) { return (most_leaves + (int64_t{1} << at) - 1) >> at; };
  while (plan.blocks * splits_at(level) > layout.partials) ++level;
  if (splits_at(level) > 1) plan.level = level, plan.splits = splits_at(level);
  return plan;
}

VisibleKeys keys_of_token(const AttentionFArgs& args, int64_t sequence, int64_t token) {
  const int32_t* q_start = args.q_start.as<int32_t>();
  return visible_keys(args, token - q_start[sequence], q_start[sequence + 1] - q_start[sequence],
                      args.kv_len.as<int32_t>()[sequence]);
}

Block block_at(const AttentionFArgs& args, const Layout& layout, int64_t index) {
  Block block{};
  for (int64_t n; index >= (n = blocks_of(args, layout, block.sequence)); index -= n) ++block.sequence;
  const int32_t* q_start = args.q_start.as<int32_t>();
  block.head = index % args.kv.heads;
  block.token = q_start[block.sequence] + index / args.kv.heads * layout.block_tokens;
  block.tokens = std::min(layout.block_tokens, q_start[block.sequence + 1] - block.token);
  // Both ends of a row's keys rise with its token.
  const int64_t first = keys_of_token(args, block.sequence, block.token).first;
  const int64_t end = keys_of_token(args, block.sequence, block.token + block.tokens - 1).end;
  block.leaf_first = first / kLeafKeys;
  block.leaf_end = first < end ? (end + kLeafKeys - 1) / kLeafKeys : block.leaf_first;
  return block;
}

// Nodes of a block's subtrees, the largest first. Merging depends on the absolute index of what is pushed only.
class SubtreeStack {
 public:
  SubtreeStack(const AttentionKernels& kernels, int64_t width, int64_t rows, int64_t node, float* memory)
      : kernels_(kernels), width_(width), rows_(rows), node_(node), memory_(memory) {}
  float* next() { return memory_ + depth_ * rows_ * node_; }  // [rows][node], written before push()
  void push(int64_t index) {
    ++depth_;
    // A right child ends its parent. NOTE: leaves come without gaps, so what lies below is its sibling, or the part of
    // the sibling that exists; below the first leaf there is nothing.
    for (; index % 2 != 0 && depth_ > 1; index /= 2) merge_top();
  }
  const float* root() {  // [rows][node]; null when nothing was pushed
    while (depth_ > 1) merge_top();
    return depth_ == 1 ? memory_ : nullptr;
  }

 private:
  void merge_top() {
    --depth_;
    float *right = next(), *left = right - rows_ * node_;
    for (int64_t r = 0; r < rows_; ++r) kernels_.merge(left + r * node_, right + r * node_, width_);
  }
  const AttentionKernels& kernels_;
  int64_t width_, rows_, node_;
  float* memory_;
  int depth_ = 0;
};

class BlockWalk {
 public:
  BlockWalk(const AttentionKernels& kernels, const AttentionFArgs& args, const Layout& layout,
            const Block& block, float* slot)
      : kernels_(kernels), args_(args), layout_(layout), block_(block) {
    width_ = round_up(args.kv.head_dim, kernels.lanes);
    rows_ = block.tokens * layout.group;
    q_ = slot;
    k_tile_ = q_ + layout.rows * layout.pitch;
    v_tile_ = k_tile_ + kLeafKeys * layout.pitch;
    nodes_ = v_tile_ + kLeafKeys * layout.pitch;
    first_ = reinterpret_cast<int32_t*>(nodes_ + layout.depth * layout.rows * layout.node);
    end_ = first_ + layout.rows;
  }
  int64_t rows() const { return rows_; }
  SubtreeStack stack() const { return SubtreeStack(kernels_, width_, rows_, layout_.node, nodes_); }

  // The nodes of leaves [begin, end) of the block, merged; null when the block sees none of them.
  const float* walk(int64_t begin, int64_t end) const {
    load_q();
    SubtreeStack subtrees = stack();
    for (int64_t leaf = std::max(begin, block_.leaf_first); leaf < std::min(end, block_.leaf_end); ++leaf) {
      compute_leaf(leaf, subtrees.next());
      subtrees.push(leaf);
    }
    return subtrees.root();
  }

  // root: [rows][node], or null for a block without keys.
  void store_rows(const float* root) const {
    for (int64_t r = 0; r < rows_; ++r) {
      const float* node = root ? root + r * layout_.node : nullptr;
      float* row = q_ + r * layout_.pitch;  // q is no longer needed
      if (node)
        kernels_.finish(row, node, width_);
      else
        std::fill(row, row + args_.kv.head_dim, 0.0f);
      store_row(row, element(args_.out, r));
      if (args_.lse)
        args_.lse.as<float>()[element(args_.lse, r)] = node && node[2] != 0.0f && node[1] != 0.0f
                                                           ? node[0] + std::log(node[1])
                                                           : -std::numeric_limits<float>::infinity();
    }
  }

 private:
  // Row r of the block is token r / group, query head r % group of the KV head's group.
  int64_t element(const ConstTensor& t, int64_t r) const {
    return (block_.token + r / layout_.group) * t.stride(0) +
           (block_.head * layout_.group + r % layout_.group) * t.stride(1);
  }

  void load_q() const {
    const int64_t d = args_.kv.head_dim;
    for (int64_t r = 0; r < rows_; ++r) {
      float* to = q_ + r * layout_.pitch;
      const int64_t from = element(args_.q, r);
      if (args_.q.dtype() == DType::f32)
        std::memcpy(to, args_.q.as<float>() + from, static_cast<size_t>(d) * sizeof(float));
      else
        for (int64_t i = 0; i < d; ++i)
          to[i] = args_.q.dtype() == DType::f16 ? to_float(args_.q.as<F16>()[from + i])
                                                : to_float(args_.q.as<BF16>()[from + i]);
      std::fill(to + d, to + layout_.pitch, 0.0f);
    }
  }

  void store_row(const float* row, int64_t to) const {
    const int64_t d = args_.kv.head_dim;
    if (args_.out.dtype() == DType::f32)
      std::memcpy(args_.out.as<float>() + to, row, static_cast<size_t>(d) * sizeof(float));
    else if (args_.out.dtype() == DType::f16)
      for (int64_t i = 0; i < d; ++i) args_.out.as<F16>()[to + i] = to_f16(row[i]);
    else
      for (int64_t i = 0; i < d; ++i) args_.out.as<BF16>()[to + i] = to_bf16(row[i]);
  }

  void compute_leaf(int64_t index, float* nodes) const {
    const KvView& kv = args_.kv;
    const int64_t base = index * kLeafKeys;
    int64_t lowest = kLeafKeys, highest = 0;  // keys of the leaf that some row sees
    for (int64_t r = 0; r < rows_; ++r) {
      const VisibleKeys keys = keys_of_token(args_, block_.sequence, block_.token + r / layout_.group);
      first_[r] = static_cast<int32_t>(std::clamp<int64_t>(keys.first - base, 0, kLeafKeys));
      end_[r] = static_cast<int32_t>(std::clamp<int64_t>(keys.end - base, 0, kLeafKeys));
      if (first_[r] < end_[r])
        lowest = std::min<int64_t>(lowest, first_[r]), highest = std::max<int64_t>(highest, end_[r]);
    }
    const int64_t slot = kv.offset(block_.sequence, block_.head, base) * size_of(kv.dtype);
    const int64_t next = index + 1 < block_.leaf_end
                             ? kv.offset(block_.sequence, block_.head, base + kLeafKeys) * size_of(kv.dtype)
                             : slot;
    const int64_t scales = kv.dtype == DType::i8 ? kv.scale_offset(block_.sequence, block_.head, base) : 0;
    AttentionLeaf leaf{};
    leaf.element = element_of(kv.dtype);
    leaf.k = static_cast<const uint8_t*>(kv.k) + slot, leaf.v = static_cast<const uint8_t*>(kv.v) + slot;
    leaf.next_k = static_cast<const uint8_t*>(kv.k) + next;
    leaf.token_stride = kv.token_stride;
    leaf.width = width_;
    if (kv.dtype == DType::i8) leaf.k_scale = kv.k_scale + scales, leaf.v_scale = kv.v_scale + scales;
    leaf.scale = args_.scale;
    leaf.rows = rows_;
    leaf.q = q_, leaf.q_pitch = layout_.pitch;
    leaf.first = first_, leaf.end = end_;
    leaf.nodes = nodes, leaf.node_stride = layout_.node;
    if (kv.head_dim != width_ || (kv.dtype != DType::f32 && rows_ >= kTileRows)) widen(leaf, lowest, highest);
    kernels_.leaf(leaf);
  }

  void widen(AttentionLeaf& leaf, int64_t first, int64_t end) const {
    AttentionTile tile{leaf.element, leaf.k, leaf.token_stride, args_.kv.head_dim,
                       first,        end,    k_tile_,           layout_.pitch};
    kernels_.tile(tile);
    tile.from = leaf.v, tile.to = v_tile_;
    kernels_.tile(tile);
    leaf.element = KvElement::f32;
    leaf.k = k_tile_, leaf.v = v_tile_, leaf.next_k = nullptr;
    leaf.token_stride = layout_.pitch;
  }

  static KvElement element_of(DType dtype) {
    return dtype == DType::f32    ? KvElement::f32
           : dtype == DType::f16  ? KvElement::f16
           : dtype == DType::bf16 ? KvElement::bf16
                                  : KvElement::i8;
  }

  const AttentionKernels& kernels_;
  const AttentionFArgs& args_;
  const Layout& layout_;
  const Block& block_;
  int64_t width_, rows_;                   // D in whole vectors; rows of this block
  float *q_, *k_tile_, *v_tile_, *nodes_;  // [rows][pitch], [64][pitch], [64][pitch], [depth][rows][node]
  int32_t *first_, *end_;                  // [rows]
};

int64_t multiply_adds(const AttentionFArgs& args) {
  const int32_t *q_start = args.q_start.as<int32_t>(), *kv_len = args.kv_len.as<int32_t>();
  int64_t pairs = 0;
  for (int64_t b = 0; b < args.kv_len.dim(0); ++b) pairs += int64_t{q_start[b + 1] - q_start[b]} * kv_len[b];
  return 2 * pairs * args.q.dim(1) * args.q.dim(2);
}

}  // namespace

int64_t attention_f_blocked_workspace_bytes(const Context& ctx, const AttentionFArgs& args) {
  const Layout layout(ctx, args);
  const int64_t floats = attention_threads(ctx) * layout.slot + layout.partials * layout.rows * layout.node;
  return floats * static_cast<int64_t>(sizeof(float)) + kWorkspaceAlignment;
}

void attention_f_blocked(const Context& caller, const AttentionFArgs& args, const AttentionKernels& kernels) {
  Context ctx = caller;
  if (multiply_adds(args) < kSmallWork) ctx.pool = nullptr;
  const Layout layout(ctx, args);
  const Plan plan = make_plan(ctx, args, layout);
  auto* memory = static_cast<float*>(workspace_start(ctx));
  float* partials = memory + attention_threads(ctx) * layout.slot;  // [block][split][rows][node]
  const auto slot_memory = [&](int64_t slot) { return memory + slot * layout.slot; };
  const auto partial = [&](int64_t block, int64_t split) {
    return partials + (block * plan.splits + split) * layout.rows * layout.node;
  };

  attention_items(ctx, plan.blocks * plan.splits, [&](int64_t slot, int64_t item) {
    const int64_t index = item / plan.splits, split = item % plan.splits;
    const Block block = block_at(args, layout, index);
    const BlockWalk walk(kernels, args, layout, block, slot_memory(slot));
    const float* root =
        walk.walk(split << plan.level, plan.level == 62 ? block.leaf_end : (split + 1) << plan.level);
    if (plan.splits == 1)
      walk.store_rows(root);
    else if (root)
      std::memcpy(partial(index, split), root,
                  static_cast<size_t>(walk.rows() * layout.node) * sizeof(float));
  });
  if (plan.splits == 1) return;

  attention_items(ctx, plan.blocks, [&](int64_t slot, int64_t index) {
    const Block block = block_at(args, layout, index);
    const BlockWalk walk(kernels, args, layout, block, slot_memory(slot));
    SubtreeStack subtrees = walk.stack();
    for (int64_t split = block.leaf_first >> plan.level; split << plan.level < block.leaf_end; ++split) {
      std::memcpy(subtrees.next(), partial(index, split),
                  static_cast<size_t>(walk.rows() * layout.node) * sizeof(float));
      subtrees.push(split);
    }
    walk.store_rows(subtrees.root());
  });
}

}  // namespace octavo
