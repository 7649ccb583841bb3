// From s32 sums to y: scales, bias, what the policy adds, one rounding, stores. The same operations in every kernel, so the
// same bits.
#pragma once
#include <type_traits>

#include "cuda/activation.cuh"
#include "cuda/ptx/warpgroup.cuh"
#include "cuda/vec.cuh"
#include "ops/gemm_w8a8/gemm_w8a8.h"
#include "ops/gemm_w8a8/gemm_w8a8_tiles.h"

namespace octavo {

// The scales, the policy and the output of one call; null scales with i32 output.
struct Int8Output {
  const float* x_scale;               // [m]
  const float* w_scale;               // [n]
  const float* bias;                  // [n], or null
  const float* y_scale;               // [1], i8 only
  const void* residual;               // [m, n] of y's type, or null
  float* y_amax;                      // [m], or null
  void* y;                            // [m, n], silu_mul: [m, n / 2]
  int64_t y_stride, residual_stride;  // elements
  DType y_type;
  GemmActivation activation;
  int m, n;      // n: rows of w
  bool aligned;  // every row of y, and of the residual, starts on 16 bytes
};

inline bool rows_on_16(const ConstTensor& t) {
  return !t || (reinterpret_cast<uintptr_t>(t.data()) % 16 == 0 &&
                (t.dim(0) <= 1 || t.stride(0) * size_of(t.dtype()) % 16 == 0));
}
inline Int8Output int8_output(const GemmW8A8Args& a) {
  return {.x_scale = static_cast<const float*>(a.x_scale.data()),
          .w_scale = static_cast<const float*>(a.w_scale.data()),
          .bias = static_cast<const float*>(a.bias.data()),
          .y_scale = static_cast<const float*>(a.y_scale.data()),
          .residual = a.residual.data(),
          .y_amax = static_cast<float*>(a.y_amax.data()),
          .y = a.y.data(),
          .y_stride = a.y.stride(0),
          .residual_stride = a.residual ? a.residual.stride(0) : 0,
          .y_type = a.y.dtype(),
          .activation = a.activation,
          .m = static_cast<int>(a.x.dim(0)),
          .n = static_cast<int>(a.w.dim(0)),
          .aligned = rows_on_16(a.y) && rows_on_16(a.residual)};
}

// What a kernel does between v and y. `any`: asks the call at run time. All but `scales` raise y_amax where the call has one.
enum class Int8Policy : uint8_t { scales, amax, gelu_erf, gelu_tanh, silu_mul, residual, any };

// f16 or bf16: the call says which.
struct EitherHalf {
  uint16_t bits;
};
template <class Y>
__device__ __forceinline__ uint32_t packed_pair(const Int8Output& out, float low, float high) {
  if constexpr (!std::is_same_v<Y, EitherHalf>)
    return cuda::pack_pair(low, high, Y{});
  else
    return out.y_type == DType::bf16 ? cuda::pack_pair(low, high, BF16{}) : cuda::pack_pair(low, high, F16{});
}

template <class Y>
__device__ __forceinline__ Y* y_at(const Int8Output& out, int row, int column) {
  return static_cast<Y*>(out.y) + row * out.y_stride + column;
}
template <class Y>
__device__ __forceinline__ float residual_at(const Int8Output& out, int64_t row, int64_t column) {
  return cuda::load_element(static_cast<const Y*>(out.residual) + row * out.residual_stride + column);
}

__device__ __forceinline__ float scaled(int32_t acc, float w_scale, float x_scale, float bias) {
  return __fmaf_rn(__fmul_rn(__int2float_rn(acc), w_scale), x_scale, bias);
}
__device__ __forceinline__ int8_t code_of(float v, float inverse) {
  const float r = rintf(__fmul_rn(v, inverse));
  return r == r ? static_cast<int8_t>(fminf(fmaxf(r, -127.0f), 127.0f)) : int8_t{0};
}
__device__ __forceinline__ float inverse_of(const Int8Output& out) {
  return out.y_type == DType::i8 ? __fdiv_rn(1.0f, *out.y_scale) : 0.0f;
}

// GELU of one value, if any.
template <class Y, Int8Policy kPolicy>
__device__ __forceinline__ float activated(const Int8Output& out, float v) {
  if constexpr (kPolicy == Int8Policy::gelu_erf) return cuda::gelu_erf<Y>(v);
  if constexpr (kPolicy == Int8Policy::gelu_tanh) return cuda::gelu_tanh<Y>(v);
  if constexpr (kPolicy == Int8Policy::any) {
    if (out.activation == GemmActivation::gelu_erf) return cuda::gelu_erf<Y>(v);
    if (out.activation == GemmActivation::gelu_tanh) return cuda::gelu_tanh<Y>(v);
  }
  return v;
}

// f(Y{}) with the type of y.
template <class F>
__device__ __forceinline__ void with_y_type(const Int8Output& out, F&& f) {
  switch (out.y_type) {
    case DType::f32: return f(float{});
    case DType::f16: return f(F16{});
    case DType::bf16: return f(BF16{});
    case DType::i8: return f(int8_t{});
    default: return f(int32_t{});
  }
}

// y_amax of a row, by the bits of a magnitude: numbers that are not negative are ordered as their bits, NaN behind Inf.
__device__ __forceinline__ void raise_amax(const Int8Output& out, int64_t row, uint32_t bits) {
  atomicMax(reinterpret_cast<unsigned*>(out.y_amax) + row, bits);
}
// The magnitudes of the first `count` of eight 16-bit values, two by two the larger of them.
__device__ __forceinline__ uint32_t magnitudes_of(uint4 values, int count) {
  const uint32_t words[4] = {values.x, values.y, values.z, values.w};
  uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t mask = count >= 2 * i + 2 ? 0x7fff7fffu : count == 2 * i + 1 ? 0x7fffu : 0u;
    most = __vmaxu2(most, words[i] & mask);
  }
  return most;
}
template <class Y>
__device__ __forceinline__ uint32_t amax_bits(uint32_t pair) {
  float both[2];
  cuda::unpack_pair(max(pair & 0xffffu, pair >> 16), Y{}, both);
  return __float_as_uint(both[0]);
}

// One output by the call's policy. `up`: v of the next column, for silu_mul; column: of y.
template <class Y>
__device__ __forceinline__ void store_one(const Int8Output& out, int64_t row, int64_t column, float v,
                                          float up, float y_inverse) {
  Y* y = static_cast<Y*>(out.y) + row * out.y_stride + column;
  if constexpr (std::is_same_v<Y, int8_t>) {
    *y = code_of(v, y_inverse);
  } else {
    if (out.activation == GemmActivation::silu_mul)
      v = cuda::silu_mul<Y>(v, up);
    else
      v = activated<Y, Int8Policy::any>(out, v);
    if (out.residual) v = __fadd_rn(v, residual_at<Y>(out, row, column));
    cuda::store_element(y, v);
    if constexpr (sizeof(Y) == 2)
      if (out.y_amax) raise_amax(out, row, __float_as_uint(fabsf(cuda::rounded<Y>(v))));
  }
}

// Row and column of two neighbouring columns of sums (column is even) to y, whatever its type and the policy.
__device__ __forceinline__ void store_pair(const Int8Output& out, int64_t row, int64_t column, int acc0,
                                           int acc1) {
  if (row >= out.m || column >= out.n) return;
  const bool second = column + 1 < out.n;
  if (out.y_type == DType::i32) {
    int32_t* y = static_cast<int32_t*>(out.y) + row * out.y_stride + column;
    y[0] = acc0;
    if (second) y[1] = acc1;
    return;
  }
  const float x_scale = out.x_scale[row], y_inverse = inverse_of(out);
  const auto v_of = [&](int64_t c, int acc) {
    return scaled(acc, out.w_scale[c], x_scale, out.bias ? out.bias[c] : 0.0f);
  };
  const float v0 = v_of(column, acc0), v1 = second ? v_of(column + 1, acc1) : 0.0f;
  with_y_type(out, [&]<class Y>(Y) {
    if constexpr (!std::is_same_v<Y, int32_t>) {
      if (out.activation == GemmActivation::silu_mul)
        return store_one<Y>(out, row, column / 2, v0, v1, y_inverse);
      store_one<Y>(out, row, column, v0, 0.0f, y_inverse);
      if (second) store_one<Y>(out, row, column + 1, v1, 0.0f, y_inverse);
    }
  });
}

// (scale, bias) of kCount columns from global to shared memory by the kThreads of a warpgroup or two: loaded before the
// product, which hides the latency, and published after it.
template <int kCount, int kThreads>
class ColumnScales {
 public:
  __device__ __forceinline__ ColumnScales(const Int8Output& out, int first, int thread) : thread_(thread) {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int column = first + thread + i * kThreads;
      const bool exists = thread + i * kThreads < kCount && column < out.n && out.w_scale;
      value_[i] = {exists ? out.w_scale[column] : 0.0f, exists && out.bias ? out.bias[column] : 0.0f};
    }
  }
  // All threads; `barrier` is theirs alone.
  __device__ __forceinline__ void publish(float2* shared, int barrier) const {
    cuda::ptx::named_barrier_sync(barrier, kThreads);  // nobody reads those of the tile before any more
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      if (thread_ + i * kThreads < kCount) shared[thread_ + i * kThreads] = value_[i];
    cuda::ptx::named_barrier_sync(barrier, kThreads);
  }

 private:
  static constexpr int kEach = (kCount + kThreads - 1) / kThreads;
  int thread_;
  float2 value_[kEach];
};

// 16 bytes of a row of y, from `column` on; `columns`: of y.
template <class Y>
__device__ __forceinline__ void store_vector(const Int8Output& out, int row, int column, int columns,
                                             uint4 vector) {
  constexpr int kElements = 16 / sizeof(Y);
  Y* y = y_at<Y>(out, row, column);
  if (out.aligned && column + kElements <= columns) {
    cuda::ptx::store(reinterpret_cast<uint4*>(y), vector);
  } else {
    alignas(16) Y v[kElements];
    *reinterpret_cast<uint4*>(v) = vector;
#pragma unroll
    for (int i = 0; i < kElements; ++i)
      if (column + i < columns) y[i] = v[i];
  }
}
template <class Y>
__device__ __forceinline__ uint4 load_residual_vector(const Int8Output& out, int row, int column) {
  constexpr int kElements = 16 / sizeof(Y);
  const Y* from = static_cast<const Y*>(out.residual) + row * out.residual_stride + column;
  if (row < out.m && out.aligned && column + kElements <= out.n)
    return cuda::ptx::load_cached(reinterpret_cast<const uint4*>(from));
  alignas(16) Y v[kElements] = {};
#pragma unroll
  for (int i = 0; i < kElements; ++i)
    if (row < out.m && column + i < out.n) v[i] = from[i];
  return *reinterpret_cast<const uint4*>(v);
}

// A warp's 16 rows x 2 kCount columns of sums in the layout of wgmma (ptx/wgmma_s8.cuh) to y, from (row, column) on.
// x_scale: of rows lane / 4 and lane / 4 + 8; columns: (scale, bias) of the columns, in shared memory.
// They go through the warp's 2 KB of shared memory in chunks of 16 rows x 128 bytes, to be stored in whole rows. (Parts
// of 16 bytes permuted, place_in_rows_of_128.) A residual comes the same way, a chunk ahead.
template <class Y, Int8Policy kPolicy, int kCount>
class SumStore {
 public:
  __device__ __forceinline__ SumStore(const Int8Output& out, int row, int column, const float (&x_scale)[2],
                                      const float2* columns, uint4* staging)
      : out_(out),
        row_(row),
        column_(column / kPerOutput),
        x_scale_{x_scale[0], x_scale[1]},
        columns_(columns),
        bytes_(reinterpret_cast<char*>(staging)),
        lane_(static_cast<int>(threadIdx.x) % 32),
        y_columns_(out.n / kPerOutput),
        inverse_(std::is_same_v<Y, int8_t> ? inverse_of(out) : 0.0f) {}

  __device__ __forceinline__ void store(const int32_t (&acc)[kCount]) {
    if constexpr (kPolicy == Int8Policy::residual) load_residual(0);
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      if (column_ + kColumns * chunk >= y_columns_) break;
      __syncwarp();  // the chunk before has left the staging memory
      if constexpr (kPolicy == Int8Policy::residual) {
        stage_residual();
        __syncwarp();
        if (chunk + 1 < kChunks) load_residual(chunk + 1);
      }
      fill(acc, chunk);
      __syncwarp();
#pragma unroll
      for (int i = 0; i < kSteps; ++i) {
        const int r = kRowsAtOnce * i + lane_ / kParts, part = lane_ % kParts;
        const uint4 vector = *reinterpret_cast<const uint4*>(bytes_ + place_in_rows_of_128(r, part));
        const int column = column_ + kColumns * chunk + part * kPart;
        if (beyond((kColumns * chunk + part * kPart) * kPerOutput / 8)) continue;
        if (row_ + r < out_.m) store_vector<Y>(out_, row_ + r, column, y_columns_, vector);
        if constexpr (kAmax)
          if (out_.y_amax) most_[i] = __vmaxu2(most_[i], magnitudes_of(vector, y_columns_ - column));
      }
    }
    if constexpr (kAmax)
      if (out_.y_amax) raise_amaxes();
  }

 private:
  static constexpr bool kSilu = kPolicy == Int8Policy::silu_mul;
  static constexpr bool kAmax = kPolicy != Int8Policy::scales && sizeof(Y) == 2;
  static constexpr int kPerOutput = kSilu ? 2 : 1, kPart = 16 / static_cast<int>(sizeof(Y));
  static constexpr int kMost = 128 / static_cast<int>(sizeof(Y)), kAll = 2 * kCount / kPerOutput;
  static constexpr int kColumns = kMost < kAll ? kMost : kAll;  // of y, of a chunk
  static constexpr int kParts = kColumns / kPart, kRowsAtOnce = 32 / kParts,
                       kSteps = 16 / kRowsAtOnce;                   // of its rows
  static constexpr int kEights = kColumns * kPerOutput / 8;         // groups of 8 columns of sums of a chunk
  static constexpr int kChunks = (kAll + kColumns - 1) / kColumns;  // the last may be narrower
  static_assert(kPolicy != Int8Policy::residual || (kSteps == 4 && kAll % kColumns == 0),
                "a residual fills whole chunks");
  static constexpr bool beyond(int eight) {
    return kAll % kColumns != 0 && eight >= kCount / 4;
  }  // of the tile

  // most_: of the rows that this lane stored, each of which kParts lanes stored together.
  __device__ __forceinline__ void raise_amaxes() {
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
#pragma unroll
      for (int lanes = 1; lanes < kParts; lanes *= 2)
        most_[i] = __vmaxu2(most_[i], __shfl_xor_sync(~0u, most_[i], lanes));
      const int row = row_ + kRowsAtOnce * i + lane_ / kParts;
      if (lane_ % kParts == 0 && row < out_.m) raise_amax(out_, row, amax_bits<Y>(most_[i]));
    }
  }

  // v of columns 8 j + pair and the next, of row lane / 4 + 8 half.
  __device__ __forceinline__ float2 scaled_pair(const int32_t (&acc)[kCount], int j, int half) const {
    const float4 c = *reinterpret_cast<const float4*>(columns_ + 8 * j + lane_ % 4 * 2);
    return make_float2(scaled(acc[4 * j + 2 * half], c.x, x_scale_[half], c.y),
                       scaled(acc[4 * j + 2 * half + 1], c.z, x_scale_[half], c.w));
  }
  __device__ __forceinline__ float2 finished_pair(const int32_t (&acc)[kCount], int j, int half) const {
    const float2 v = scaled_pair(acc, j, half);
    return make_float2(activated<Y, kPolicy>(out_, v.x), activated<Y, kPolicy>(out_, v.y));
  }
  __device__ __forceinline__ float silu_of(const int32_t (&acc)[kCount], int j, int half) const {
    const float2 v = scaled_pair(acc, j, half);
    return cuda::silu_mul<Y>(v.x, v.y);
  }
  // Where `size` bytes of column `c` of the chunk lie, in row lane / 4 + 8 half.
  __device__ __forceinline__ char* place(int c, int half) const {
    const int byte = c * static_cast<int>(sizeof(Y));
    return bytes_ + place_in_rows_of_128(lane_ / 4 + 8 * half, byte / 16) + byte % 16;
  }

  __device__ __forceinline__ void fill(const int32_t (&acc)[kCount], int chunk) const {
    const int first = kEights * chunk, pair = lane_ % 4 * 2;
    if constexpr (kSilu && sizeof(Y) == 2) {
      // A thread has output 4 j + lane % 4 of each j; of two j, even lanes give the second away and get the first's next.
      const bool odd = lane_ % 2;
#pragma unroll
      for (int j = 0; j < kEights; j += 2)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          if (beyond(first + j)) break;
          const float here = silu_of(acc, first + j, half), next = silu_of(acc, first + j + 1, half);
          const float got = __shfl_xor_sync(~0u, odd ? here : next, 1);
          const uint32_t word = odd ? cuda::pack_pair(got, next, Y{}) : cuda::pack_pair(here, got, Y{});
          *reinterpret_cast<uint32_t*>(place(4 * j + (odd ? 3 : 0) + lane_ % 4, half)) = word;
        }
    } else if constexpr (kSilu) {
#pragma unroll
      for (int j = 0; j < kEights; ++j)
#pragma unroll
        for (int half = 0; half < 2 && !beyond(first + j); ++half)
          *reinterpret_cast<float*>(place(4 * j + lane_ % 4, half)) = silu_of(acc, first + j, half);
    } else if constexpr (sizeof(Y) == 2 && kPolicy == Int8Policy::scales) {
      // Two stores' worth at a time: their loads of scales do not wait behind a store.
#pragma unroll
      for (int j = 0; j < kEights; j += 4) {
        uint32_t words[2][4];
#pragma unroll
        for (int i = 0; i < 8 && !beyond(first + j + i / 4 * 2); ++i) {
          const float2 v = scaled_pair(acc, first + j + i / 2, i % 2);
          words[i / 4][i % 4] = packed_pair<Y>(out_, v.x, v.y);
        }
#pragma unroll
        for (int i = 0; i < 2 && j + 2 * i < kEights && !beyond(first + j + 2 * i); ++i)
          cuda::ptx::store_matrices(bytes_ + place_in_rows_of_128(lane_ % 16, j + 2 * i + lane_ / 16),
                                    words[i]);
      }
    } else if constexpr (sizeof(Y) == 2) {
#pragma unroll
      for (int j = 0; j < kEights; j += 2) {
        if (beyond(first + j)) break;
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float2 v = finished_pair(acc, first + j + i / 2, i % 2);
          if constexpr (kPolicy == Int8Policy::residual) {
            float r[2];
            cuda::unpack_pair(*reinterpret_cast<const uint32_t*>(place(8 * (j + i / 2) + pair, i % 2)), Y{},
                              r);
            v = make_float2(__fadd_rn(v.x, r[0]), __fadd_rn(v.y, r[1]));
          }
          words[i] = packed_pair<Y>(out_, v.x, v.y);
        }
        if constexpr (kPolicy == Int8Policy::residual) __syncwarp();
        cuda::ptx::store_matrices(bytes_ + place_in_rows_of_128(lane_ % 16, j + lane_ / 16), words);
      }
    } else if constexpr (sizeof(Y) == 1) {
#pragma unroll
      for (int j = 0; j < kEights; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          if (beyond(first + j)) break;
          const float2 v = scaled_pair(acc, first + j, half);
          *reinterpret_cast<char2*>(place(8 * j + pair, half)) =
              make_char2(code_of(v.x, inverse_), code_of(v.y, inverse_));
        }
    } else {
#pragma unroll
      for (int j = 0; j < kEights; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          if (beyond(first + j)) break;
          auto* at = reinterpret_cast<int2*>(place(8 * j + pair, half));
          int2 v = make_int2(acc[4 * (first + j) + 2 * half], acc[4 * (first + j) + 2 * half + 1]);
          if constexpr (std::is_same_v<Y, float>) {
            float2 f = finished_pair(acc, first + j, half);
            if constexpr (kPolicy == Int8Policy::residual) {
              const float2 r = *reinterpret_cast<const float2*>(at);
              f = make_float2(__fadd_rn(f.x, r.x), __fadd_rn(f.y, r.y));
            }
            v = make_int2(__float_as_int(f.x), __float_as_int(f.y));
          }
          *at = v;
        }
    }
  }

  __device__ __forceinline__ void load_residual(int chunk) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      residual_[i] = load_residual_vector<Y>(out_, row_ + 4 * i + lane_ / 8,
                                             column_ + kColumns * chunk + lane_ % 8 * kPart);
  }
  __device__ __forceinline__ void stage_residual() const {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      *reinterpret_cast<uint4*>(bytes_ + place_in_rows_of_128(4 * i + lane_ / 8, lane_ % 8)) = residual_[i];
  }

  const Int8Output& out_;
  int row_, column_;  // of y
  float x_scale_[2];
  const float2* columns_;
  char* bytes_;
  int lane_, y_columns_;
  float inverse_;
  uint4 residual_[4];
  uint32_t most_[kSteps] = {};
};

template <class Y, Int8Policy kPolicy, int kCount>
__device__ __forceinline__ void store_sums(const Int8Output& out, int row, int column,
                                           const int32_t (&acc)[kCount], const float (&x_scale)[2],
                                           const float2* columns, uint4* staging) {
  SumStore<Y, kPolicy, kCount>(out, row, column, x_scale, columns, staging).store(acc);
}

}  // namespace octavo
