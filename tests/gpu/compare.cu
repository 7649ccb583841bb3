#include "gpu/compare.h"

#include "cuda/elementwise.cuh"

namespace octavo::gpu {
namespace {

using namespace cuda;

__global__ void count_differing_words(const uint4* a, const uint4* b, int64_t words, uint32_t* counter) {
  uint32_t different = 0;
  for (int64_t i = first_element(); i < words; i += element_step()) {
    const uint4 x = a[i], y = b[i];
    different += x.x != y.x || x.y != y.y || x.z != y.z || x.w != y.w;
  }
  if (different) atomicAdd(counter, different);
}

}  // namespace

void count_differences(const Context& ctx, const void* a, const void* b, int64_t bytes, uint32_t* counter) {
  const int64_t words = bytes / 16;
  if (words == 0) return;
  LaunchShape shape = shape_of_elements("count_differing_words", words);
  shape.overlap = false;
  launch(ctx, shape, count_differing_words, static_cast<const uint4*>(a), static_cast<const uint4*>(b), words,
         counter);
}

}  // namespace octavo::gpu
