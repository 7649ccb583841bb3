// The part of cuBLASLt's C interface that gemm_f calls: the same in its major versions 12 and 13. Declared here and loaded when
// a product is first asked for, so that neither the build nor a program without such a product needs the library (540 MB).
#pragma once
#include <cuda_runtime_api.h>
#include <library_types.h>

#include <cstddef>
#include <cstdint>

namespace octavo::cublaslt {

// Values of cublasComputeType_t and of the attributes' enums, by the names they have there.
inline constexpr int kCompute32F = 68, kOpT = 1, kEpilogueBias = 4;
inline constexpr int kDescTransA = 3, kDescEpilogue = 7, kDescBiasPointer = 8;
inline constexpr int kPrefWorkspaceBytes = 1, kPrefAlignmentA = 5, kPrefAlignmentB = 6, kPrefAlignmentC = 7,
                     kPrefAlignmentD = 8;

using Handle = void*;
struct Desc {
  uint64_t data[32];
};
struct Layout {
  uint64_t data[8];
};
struct Preference {
  uint64_t data[8];
};
struct Algorithm {
  uint64_t data[8];
};
struct Choice {
  Algorithm algorithm;
  size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
};

// Functions return 0 or a cublasStatus_t.
struct Library {
  int (*create)(Handle*);
  int (*desc_create)(Desc**, int compute_type, cudaDataType_t scale_type);
  int (*desc_set)(Desc*, int attribute, const void*, size_t);
  int (*desc_destroy)(Desc*);
  int (*layout_create)(Layout**, cudaDataType_t, uint64_t rows, uint64_t columns, int64_t leading);
  int (*layout_destroy)(Layout*);
  int (*preference_create)(Preference**);
  int (*preference_set)(Preference*, int attribute, const void*, size_t);
  int (*preference_destroy)(Preference*);
  int (*choose)(Handle, const Desc*, const Layout* a, const Layout* b, const Layout* c, const Layout* d,
                const Preference*, int wanted, Choice*, int* found);
  int (*matmul)(Handle, const Desc*, const void* alpha, const void* a, const Layout*, const void* b,
                const Layout*, const void* beta, const void* c, const Layout*, void* d, const Layout*,
                const Algorithm*, void* workspace, size_t workspace_bytes, cudaStream_t);
};

}  // namespace octavo::cublaslt
