// Weights as the ops take them: a linear layer (or an embedding table) in INT8 or in the floats of its file,
// and float vectors. They own their memory and hand out views; movable, not copyable.
#pragma once
#include <cstdint>
#include <string>

#include "core/buffer.h"
#include "core/context.h"
#include "core/tensor.h"

namespace octavo {

enum class Storage : uint8_t { int8, floats };
constexpr const char* name_of(Storage s) { return s == Storage::int8 ? "int8" : "floats"; }

// Row pitch of INT8 weights in memory, in elements: rows start at multiples of 128 bytes and end in zeros
// (design 4).
constexpr int64_t int8_pitch(int64_t in_features) { return round_up(in_features, 128); }

// y = x w^T + bias, N = out_features, K = in_features; as an embedding table, row n is the vector of token n.
struct LinearWeight {
  int64_t out_features = 0;  // N
  int64_t in_features = 0;   // K
  Storage storage = Storage::floats;
  DType dtype = DType::f32;  // of the elements: i8 with Storage::int8; f32, f16 or bf16 with Storage::floats
  Buffer elements;           // int8: codes [N][int8_pitch(K)], zero tail; floats: [N][K]
  Buffer scales;             // int8 only: f32 [N], value = code * scale
  Buffer code_sums;          // int8 only: i32 [N], sum of the codes of a row (VNNI products need it)
  Buffer bias_values;        // f32 [N]; meaningful when has_bias
  bool has_bias = false;
  std::string
      name;  // of the file's layers, joined with '+': "model.layers.0.mlp.gate_proj+model.layers.0.mlp.up_proj"

  int64_t pitch() const { return storage == Storage::int8 ? int8_pitch(in_features) : in_features; }

  // [N, K], rows `pitch()` elements apart.
  ConstTensor w() const { return {elements.data(), dtype, {out_features, in_features}, {pitch(), 1}}; }
  // The optional arguments of ops: absent (false in a condition) where the weight has none.
  ConstTensor w_scale() const { return vector_or_absent(storage == Storage::int8, scales, DType::f32); }
  ConstTensor w_code_sum() const { return vector_or_absent(storage == Storage::int8, code_sums, DType::i32); }
  ConstTensor bias() const { return vector_or_absent(has_bias, bias_values, DType::f32); }

  // Memory held, padding included.
  int64_t bytes() const {
    return elements.bytes() + scales.bytes() + code_sums.bytes() + bias_values.bytes();
  }

  // What bytes() of such a weight will be, before anything is read: `octavo plan` counts with the loader's
  // own formula. float_dtype matters for Storage::floats only.
  static int64_t planned_bytes(int64_t out_features, int64_t in_features, Storage storage, DType float_dtype,
                               bool bias) {
    const int64_t bias_bytes = bias ? out_features * 4 : 0;
    if (storage == Storage::floats) return out_features * in_features * size_of(float_dtype) + bias_bytes;
    return out_features * (int8_pitch(in_features) + 4 + 4) + bias_bytes;
  }

 private:
  ConstTensor vector_or_absent(bool present, const Buffer& values, DType type) const {
    return present ? ConstTensor(values.data(), type, {out_features}) : ConstTensor();
  }
};

// Sees what goes into every linear layer of a forward pass, for calibration and for measuring layers one by one. Models
// call it with float activations only: run the model with Quantization::none.
class LinearObserver {
 public:
  virtual ~LinearObserver() = default;
  virtual void see(const Context& ctx, const LinearWeight& w, ConstTensor x) = 0;  // x: f32 [T, K]
};

// A vector in f32 whatever its file holds: norm weights, biases.
struct FloatVector {
  int64_t size = 0;
  Buffer values;  // f32 [size]

  ConstTensor view() const { return {values.data(), DType::f32, {size}}; }
  int64_t bytes() const { return values.bytes(); }
};

}  // namespace octavo
