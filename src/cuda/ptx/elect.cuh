// elect.sync (sm_90): one thread of a warp.
#pragma once
#include <cstdint>

namespace octavo::cuda::ptx {

// True in one thread of a warp, all of whose threads come here.
// NOTE: the copy engine's instructions take registers of the warp, so behind `threadIdx.x == 0` ptxas puts each of them into a
// loop over the threads that might be there. It knows this thread to be alone.
__device__ __forceinline__ bool elect_one() {
  uint32_t one = 0;
#if __CUDA_ARCH__ >= 900
  asm volatile("{\n.reg .pred one;\nelect.sync _|one, 0xffffffff;\n@one mov.u32 %0, 1;\n}" : "+r"(one));
#endif
  return one;
}

}  // namespace octavo::cuda::ptx
