// Rows streamed through shared memory (sm_90): a block, or a cluster of blocks, works through rows while the copy engine
// fills the slots of the rows to come, so that memory never waits for a reduction. Between one row in registers a block
// (rows.cuh) and this, a row's bits are the same: same threads, same octets of a thread, same order of sums.
//
//   slot of a row: [inputs][kRowOctets * blockDim.x octets], this block's part of the row
//   loop:          wait for the slot; first pass; reduction (its barrier: nobody reads the previous row's slot any more);
//                  refill that slot; last pass
#pragma once
#include "cuda/ptx/bulk_copy.cuh"
#include "cuda/ptx/cluster.cuh"
#include "cuda/rows.cuh"

namespace octavo::cuda {

// What a kernel keeps in static shared memory. Two of everything: a thread may be one row ahead of another.
template <int kReductions>
struct PipelineShared {
  ReduceScratch scratch[kReductions][2];
  uint64_t arrived[kReductions][2];  // mbarriers: the blocks' partial results are here
  uint64_t filled[kMaxStages];       // mbarriers: the row is here
};

template <class T, int kInputs, int kReductions>
class RowPipeline {
 public:
  Columns columns;  // of this thread, row after row

  __device__ __forceinline__ RowPipeline(PipelineShared<kReductions>& shared, uint4* slots, int64_t rows,
                                         int width, int stages)
      : shared_(shared), slots_(slots), rows_(rows), stages_(stages) {
    columns = {{static_cast<int64_t>(ptx::cluster_index()), true,
                first_octet() + static_cast<int>(threadIdx.x), static_cast<int>(blockDim.x)},
               width};
    if (threadIdx.x == 0) {
      for (int s = 0; s < stages_; ++s) ptx::mbarrier_init(&shared_.filled[s], 1);
      for (int r = 0; r < kReductions; ++r)
        for (int i = 0; i < 2; ++i) ptx::mbarrier_init(&shared_.arrived[r][i], 1);
      ptx::mbarrier_init_fence();
    }
    __syncthreads();
    if (ptx::cluster_size() > 1)
      ptx::cluster_arrive(), ptx::cluster_wait();  // nobody writes to a block that does not run
  }

  // Where input i's rows lie. Then start().
  __device__ __forceinline__ void set_source(int input, const T* rows, int64_t stride) {
    source_[input] = rows, stride_[input] = stride;
  }
  __device__ __forceinline__ void start() {
    for (int s = 0; s + 1 < stages_; ++s) fill(s, s);
  }

  __device__ __forceinline__ bool has_row() const { return columns.at.row < rows_; }
  __device__ __forceinline__ int64_t row() const { return columns.at.row; }
  __device__ __forceinline__ void wait() { ptx::mbarrier_wait(&shared_.filled[stage_], phase_); }
  __device__ __forceinline__ RawOctet<T> octet(int input, int i) const {
    const uint4* words = slot(stage_, input) + local(i) * kWords;
    RawOctet<T> raw;
#pragma unroll
    for (int w = 0; w < kWords; ++w) raw.part[w] = words[w];
    return raw;
  }
  // Replaces an octet of input 0 by what later passes shall read. Before the next reduction: written().
  __device__ __forceinline__ void keep(int i, const RawOctet<T>& raw) {
    uint4* words = slot(stage_, 0) + local(i) * kWords;
#pragma unroll
    for (int w = 0; w < kWords; ++w) words[w] = raw.part[w];
  }
  __device__ __forceinline__ void written() { ptx::shared_before_bulk(); }

  // The result over the row in every thread of it.
  template <class Op>
  __device__ __forceinline__ typename Op::Value reduce(int which, typename Op::Value v) {
    ReduceScratch& scratch = shared_.scratch[which][count_ & 1];
    v = reduce_row<Op, RowSpan::block>(v, scratch);
    const int ranks = static_cast<int>(ptx::cluster_size());
    if (ranks == 1) return v;
    uint64_t* arrived = &shared_.arrived[which][count_ & 1];
    if (static_cast<int>(threadIdx.x) < ranks)
      ptx::store_to_peer(&scratch.block[ptx::cluster_rank()], arrived, threadIdx.x, to_bits(v));
    if (threadIdx.x == 0) ptx::mbarrier_arrive_expect(arrived, static_cast<uint32_t>(ranks) * 4);
    ptx::mbarrier_wait(arrived, (count_ >> 1) & 1);
    v = from_bits<typename Op::Value>(scratch.block[0]);
    for (int rank = 1; rank < ranks; ++rank)
      v = Op::join(v, from_bits<typename Op::Value>(scratch.block[rank]));
    return v;
  }

  // After the first reduction of a row: the slot of the row before it takes the next row that has none.
  __device__ __forceinline__ void refill() {
    const int previous = stage_ == 0 ? stages_ - 1 : stage_ - 1;
    fill(stages_ - 1, previous);
  }
  __device__ __forceinline__ void next() {
    columns.at.row += ptx::cluster_count(), ++count_;
    if (++stage_ == stages_) stage_ = 0, phase_ ^= 1;
  }

 private:
  static constexpr int kWords = sizeof(T) == 4 ? 2 : 1;  // of 16 bytes, an octet

  __device__ __forceinline__ static int local(int i) {
    return static_cast<int>(threadIdx.x) + i * static_cast<int>(blockDim.x);
  }
  __device__ __forceinline__ uint4* slot(int stage, int input) const {
    return slots_ + (stage * kInputs + input) * (kRowOctets * kWords) * static_cast<int>(blockDim.x);
  }
  // Of the row, this block's first. NOTE: recomputed where needed, as are other facts of the block: the last pass of a
  // norm has no register to spare.
  __device__ __forceinline__ static int first_octet() {
    return static_cast<int>(ptx::cluster_rank()) * kRowOctets * static_cast<int>(blockDim.x);
  }
  // The row `ahead` turns from now into the slots of a stage.
  __device__ __forceinline__ void fill(int ahead, int stage) {
    const int64_t row = columns.at.row + static_cast<int64_t>(ahead) * ptx::cluster_count();
    if (threadIdx.x != 0 || row >= rows_) return;
    const int first = first_octet() * kOctet,
              end = min(columns.width, first + kRowOctets * kOctet * static_cast<int>(blockDim.x));
    const uint32_t bytes = static_cast<uint32_t>(max(0, end - first)) * static_cast<uint32_t>(sizeof(T));
    ptx::mbarrier_arrive_expect(&shared_.filled[stage], kInputs * bytes);
    if (bytes == 0) return;
#pragma unroll
    for (int i = 0; i < kInputs; ++i)
      ptx::bulk_load(slot(stage, i), source_[i] + row * stride_[i] + first, bytes, &shared_.filled[stage]);
  }

  PipelineShared<kReductions>& shared_;
  uint4* slots_;
  int64_t rows_;
  const T* source_[kInputs];
  int64_t stride_[kInputs];  // elements
  int stages_;
  int stage_ = 0, count_ = 0;
  uint32_t phase_ = 0;
};

// A thread's octets of a parameter of the rows' own dtype, zeros without one: packed in registers over all rows, since a
// load from L2 takes over a microsecond while the memory is busy. (f32 would not fit: from a cache, row after row.)
template <class T>
class StreamedParameter {
 public:
  __device__ __forceinline__ StreamedParameter(const RowParameter& p, const Columns& columns)
      : data_(static_cast<const T*>(p.data)), columns_(columns) {
    if constexpr (kInRegisters) {
#pragma unroll
      for (int i = 0; i < kRowOctets; ++i) kept_.octet[i] = load(i);
    }
  }
  __device__ __forceinline__ void octet(int i, float (&value)[kOctet]) const {
    if constexpr (kInRegisters)
      unpack(kept_.octet[i], value);
    else
      unpack(load(i), value);
  }

 private:
  static constexpr bool kInRegisters = sizeof(T) == 2;
  __device__ __forceinline__ RawOctet<T> load(int i) const {
    RawOctet<T> raw{};
    if (data_ && columns_.has(i)) raw = load_octet(data_ + columns_.column(i));
    return raw;
  }
  const T* data_;
  const Columns& columns_;
  RawSlice<T> kept_;
};

// Runs a kernel (rows, stages) of at most kMaxStreamThreads threads on as many clusters as are resident at once.
template <class Rows>
void launch_streamed(const Context& ctx, const char* name, const RowStream& stream, int64_t rows,
                     void (*kernel)(Rows, int), const Rows& parameters) {
  LaunchShape shape{.kernel = name,
                    .grid = dim3(static_cast<unsigned>(stream.cluster)),
                    .block = dim3(static_cast<unsigned>(stream.threads)),
                    .shared_bytes = stream.stages * stream.slot_bytes,
                    .cluster = stream.cluster,
                    .overlap = true};
  const int64_t resident = resident_clusters(reinterpret_cast<const void*>(kernel), shape);
  shape.grid.x *= static_cast<unsigned>(rows < resident ? rows : resident);
  launch(ctx, shape, kernel, parameters, stream.stages);
}

}  // namespace octavo::cuda
