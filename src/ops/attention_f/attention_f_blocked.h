// How the blocked variants split a call into blocks, leaves and items for the threads.
#pragma once
#include <algorithm>
#include <atomic>

#include "core/thread_pool.h"
#include "ops/attention_f/attention_f.h"
#include "ops/attention_f/attention_f_simd.h"

namespace octavo {

struct AttentionKernels {
  void (*leaf)(const AttentionLeaf&);
  void (*tile)(const AttentionTile&);
  void (*merge)(float* left, const float* right, int64_t width);
  void (*finish)(float* out, const float* node, int64_t width);
  int64_t lanes;
};

// Depends on shapes, the cache's capacity and the number of threads only, so that a plan can ask before data exists.
int64_t attention_f_blocked_workspace_bytes(const Context& ctx, const AttentionFArgs& args);
void attention_f_blocked(const Context& ctx, const AttentionFArgs& args, const AttentionKernels& kernels);

inline int attention_threads(const Context& ctx) { return ctx.pool ? ctx.pool->threads() : 1; }

// body(slot, item) for every item; a slot (of scratch memory) runs on one thread at a time, slots <= attention_threads.
template <class Body>
void attention_items(const Context& ctx, int64_t items, Body&& body) {
  std::atomic<int64_t> next{0};
  parallel_for(ctx.pool, std::min<int64_t>(attention_threads(ctx), items), 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t slot = begin; slot < end; ++slot)
                   for (int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < items;)
                     body(slot, item);
               });
}

}  // namespace octavo
