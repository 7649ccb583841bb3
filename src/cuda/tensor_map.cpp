#include "cuda/tensor_map.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include "cuda/device.h"

namespace octavo::cuda {
namespace {

constexpr int64_t kAlignment = 16, kMostRows = int64_t{1} << 32, kMostPitch = int64_t{1} << 40;

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                            const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                            CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// From the driver that is loaded already, so that nothing links against it.
Encode find_encode() {
  constexpr int kSince = 12000;
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, kSince,
                                                              cudaEnableDefault, &found);
  if (status != cudaSuccess || found != cudaDriverEntryPointSuccess || !function)
    throw Error(ErrorKind::no_device,
                "the CUDA driver has no cuTensorMapEncodeTiled; kernels for sm_90 need driver 525 or newer");
  return reinterpret_cast<Encode>(function);
}

}  // namespace

bool tensor_map_takes(const ByteMatrix& m) {
  return m.rows > 0 && m.columns > 0 && m.rows < kMostRows && m.columns < kMostRows && m.pitch >= m.columns &&
         m.pitch < kMostPitch && m.pitch % kAlignment == 0 &&
         reinterpret_cast<uintptr_t>(m.data) % kAlignment == 0;
}

CUtensorMap tensor_map_of(const ByteMatrix& m, int box_rows, int box_bytes) {
  if (!tensor_map_takes(m))
    throw Error(ErrorKind::usage,
                fmt::format("no tensor map for {} x {} bytes at {} with pitch {}: base and pitch must be "
                            "multiples of {}, no size 0",
                            m.rows, m.columns, m.data, m.pitch, kAlignment));
  static const Encode encode = find_encode();
  CUtensorMap map{};
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(m.columns), static_cast<cuuint64_t>(m.rows)};
  const cuuint64_t pitches[] = {static_cast<cuuint64_t>(m.pitch)};
  const cuuint32_t box[] = {static_cast<cuuint32_t>(box_bytes), static_cast<cuuint32_t>(box_rows)},
                   steps[] = {1, 1};
  const auto swizzle = box_bytes == kNarrowBoxBytes ? CU_TENSOR_MAP_SWIZZLE_64B : CU_TENSOR_MAP_SWIZZLE_128B;
  const auto fetch =
      m.l2_fetch_bytes == 128 ? CU_TENSOR_MAP_L2_PROMOTION_L2_128B : CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
  const CUresult status =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, const_cast<void*>(m.data), sizes, pitches, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, fetch, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw Error(ErrorKind::runtime,
                fmt::format("cuTensorMapEncodeTiled: error {} for {} x {} bytes, pitch {}, boxes of {} rows",
                            static_cast<int>(status), m.rows, m.columns, m.pitch, box_rows));
  return map;
}

bool tensor_map_takes(const BoxedTensor& t) {
  if (reinterpret_cast<uintptr_t>(t.data) % kAlignment != 0) return false;
  for (int i = 0; i < t.dims; ++i) {
    if (t.size[i] < 1 || t.size[i] > kMostRows) return false;
    if (i > 0 &&
        (t.stride_bytes[i] <= 0 || t.stride_bytes[i] >= kMostPitch || t.stride_bytes[i] % kAlignment != 0))
      return false;
  }
  return true;
}

CUtensorMap tensor_map_of(const BoxedTensor& t) {
  if (!tensor_map_takes(t))
    throw Error(
        ErrorKind::usage,
        fmt::format("no tensor map for {} dimensions at {}: base and strides must be multiples of {} bytes",
                    t.dims, t.data, kAlignment));
  static const Encode encode = find_encode();
  CUtensorMap map{};
  cuuint64_t sizes[5], strides[4];
  cuuint32_t box[5], steps[5];
  for (int i = 0; i < t.dims; ++i) {
    sizes[i] = static_cast<cuuint64_t>(t.size[i]), box[i] = static_cast<cuuint32_t>(t.box[i]), steps[i] = 1;
    if (i > 0) strides[i - 1] = static_cast<cuuint64_t>(t.stride_bytes[i]);
  }
  const CUresult status =
      encode(&map, t.element_bytes == 1 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_UINT16,
             static_cast<cuuint32_t>(t.dims), const_cast<void*>(t.data), sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             t.promote ? CU_TENSOR_MAP_L2_PROMOTION_L2_256B : CU_TENSOR_MAP_L2_PROMOTION_NONE,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw Error(ErrorKind::runtime, fmt::format("cuTensorMapEncodeTiled: error {} for {} dimensions",
                                                static_cast<int>(status), t.dims));
  return map;
}

}  // namespace octavo::cuda
