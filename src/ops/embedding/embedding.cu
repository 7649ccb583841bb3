// embedding on CUDA: row ids[t] of the table to row t of out, converted in fp32. One block a token; an id outside the
// vocabulary gives a row of NaN, because a kernel cannot throw. Bound by memory: each row read and written once.
#include "cuda/elementwise.cuh"
#include "cuda/row_split.h"
#include "cuda/rows.cuh"
#include "ops/embedding/embedding_cuda.h"

namespace octavo {
namespace {

using namespace cuda;

template <class Table, class Out>
struct EmbeddingRows {
  const Table* table;                                          // [vocabulary, width]
  const float* scale;                                          // [vocabulary], i8 tables
  const int32_t* ids;                                          // [tokens]
  Out* out;                                                    // [tokens, width]
  int64_t table_stride, scale_stride, ids_stride, out_stride;  // elements
  int64_t vocabulary;
  int width;
};

template <class Table, class Out>
__global__ void __launch_bounds__(kElementwiseThreads)
    embedding_by_octets(const __grid_constant__ EmbeddingRows<Table, Out> p) {
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const int64_t token = blockIdx.x;
  const int64_t id = p.ids[token * p.ids_stride];
  const bool known = id >= 0 && id < p.vocabulary;
  const float scale = known && p.scale ? p.scale[id * p.scale_stride] : 1.0f;
  const Table* row = p.table + (known ? id : 0) * p.table_stride;
  Out* out = p.out + token * p.out_stride;
#pragma unroll 4
  for (int column = threadIdx.x * kOctet; column < p.width; column += blockDim.x * kOctet) {
    float v[kOctet];
    unpack(load_octet(row + column), v);
#pragma unroll
    for (int e = 0; e < kOctet; ++e) {
      if constexpr (sizeof(Table) == 1) v[e] *= scale;
      if (!known) v[e] = __uint_as_float(0x7fffffffu);
    }
    store_octet(out + column, pack<Out>(v));
  }
}

template <class Table, class Out>
__global__ void __launch_bounds__(kElementwiseThreads)
    embedding_by_elements(const __grid_constant__ EmbeddingRows<Table, Out> p) {
  ptx::grid_dependency_release();
  ptx::grid_dependency_wait();
  const int64_t token = blockIdx.x;
  const int64_t id = p.ids[token * p.ids_stride];
  const bool known = id >= 0 && id < p.vocabulary;
  const float scale = known && p.scale ? p.scale[id * p.scale_stride] : 1.0f;
  for (int column = threadIdx.x; column < p.width; column += blockDim.x) {
    float v = __uint_as_float(0x7fffffffu);
    if (known) {
      v = load_element(p.table + id * p.table_stride + column);
      if constexpr (sizeof(Table) == 1) v *= scale;
    }
    store_element(p.out + token * p.out_stride + column, v);
  }
}

template <class Table, class Out>
EmbeddingRows<Table, Out> rows_of(const EmbeddingArgs& a) {
  return {.table = static_cast<const Table*>(a.table.data()),
          .scale = static_cast<const float*>(a.table_scale.data()),
          .ids = static_cast<const int32_t*>(a.ids.data()),
          .out = static_cast<Out*>(a.out.data()),
          .table_stride = row_stride(a.table),
          .scale_stride = row_stride(a.table_scale),
          .ids_stride = row_stride(a.ids),
          .out_stride = row_stride(a.out),
          .vocabulary = a.table.dim(0),
          .width = static_cast<int>(a.table.dim(1))};
}

template <class Run>
void with_types(const EmbeddingArgs& a, const Run& run) {
  with_float_type(a.out.dtype(), [&]<class Out>(Out out) {
    if (a.table.dtype() == DType::i8)
      run(int8_t{}, out);
    else
      with_float_type(a.table.dtype(), [&](auto table) { run(table, out); });
  });
}

LaunchShape shape_of(const char* kernel, const EmbeddingArgs& a, int64_t threads) {
  threads = threads >= kElementwiseThreads ? kElementwiseThreads : (threads + 31) / 32 * 32;
  return {.kernel = kernel,
          .grid = dim3(static_cast<unsigned>(a.ids.dim(0))),
          .block = dim3(static_cast<unsigned>(threads)),
          .overlap = true};
}

}  // namespace

bool embedding_fits_octets(const EmbeddingArgs& a, const DeviceFacts&) {
  return octets_aligned(a.table) && octets_aligned(a.out);
}

void embedding_octets(const Context& ctx, const EmbeddingArgs& a) {
  if (a.out.numel() == 0) return;
  with_types(a, [&]<class Table, class Out>(Table, Out) {
    launch(ctx, shape_of("embedding_by_octets", a, a.out.dim(1) / kOctet), embedding_by_octets<Table, Out>,
           rows_of<Table, Out>(a));
  });
}

void embedding_elements(const Context& ctx, const EmbeddingArgs& a) {
  if (a.out.numel() == 0) return;
  with_types(a, [&]<class Table, class Out>(Table, Out) {
    launch(ctx, shape_of("embedding_by_elements", a, a.out.dim(1)), embedding_by_elements<Table, Out>,
           rows_of<Table, Out>(a));
  });
}

}  // namespace octavo
