// How much INT8 changes each linear layer by itself, and how large its inputs get: the two things that a forward pass of
// the unquantised model tells about quantising it.
#pragma once
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"

namespace octavo {

struct LayerError {
  std::string layer;        // LinearWeight::name
  double output_error = 0;  // ||y_int8 - y|| / ||y|| over all tokens seen, Frobenius norms, without bias
};

// Runs the text through `floats` (Quantization::none) and, at every linear layer, compares its product with the one that
// the quantised model makes of the same input: weights quantised by row, activations by token, gemm_w8a8. Errors do not
// add up from layer to layer, so that a layer's figure is its own. Largest first.
std::vector<LayerError> measure_layer_errors(Engine& floats, std::span<const int32_t> ids);

// The largest magnitude of every input feature of every linear layer, by LinearWeight::name.
using ActivationPeaks = std::unordered_map<std::string, std::vector<float>>;
ActivationPeaks measure_activation_peaks(Engine& floats, std::span<const int32_t> ids);

}  // namespace octavo
