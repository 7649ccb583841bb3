// Models that compute the same and quantise better: outliers in activations are what INT8 handles worst, and linear layers
// let them be moved. Both read a model of the Llama kind (RMSNorm; names as in `model.layers.0.self_attn.q_proj`) tensor by
// tensor and write an F32 folder; unquantised logits agree with the source's to rounding.
//
// Rotation (QuaRot, Ashkboos et al., arXiv 2404.00456): the residual stream is multiplied by an orthogonal Q, which spreads
// single large channels over all of them. RMSNorm commutes with Q once its weight is folded into the layers behind it:
//   reads the stream   W' = W diag(norm) Q        norm' = 1       embedding' = embedding Q
//   writes the stream  W' = Q^T W                 bias' = bias Q
// and the value heads likewise, each by a Hadamard matrix of its own size, between v_proj and o_proj. Q is a Hadamard matrix
// of the largest power of two in the width, times a cosine transform for the odd factor, with random signs. A tied embedding
// becomes a head of its own.
//
// Smoothing (SmoothQuant, Xiao et al., arXiv 2211.10438): with the largest activation a_j and weight w_j of feature j,
//   s_j = a_j^alpha / w_j^(1 - alpha),   W'[n][j] = W[n][j] s_j,   what makes the feature is divided by s_j
// where that is the weight of the norm in front (q, k, v; gate, up) or the rows of up (down_proj).
//
// Errors: bad_model for another kind of model, naming the tensor; runtime from the disk.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/context.h"

namespace octavo {

using TensorProgress = std::function<void(int64_t done, int64_t total)>;  // bytes of input

// `to` must not exist; a folder that could not be finished is removed. Side files (tokenizer, ...) come along.
void write_rotated_model(const std::filesystem::path& from, const std::filesystem::path& to,
                         const Context& ctx, const TensorProgress& progress = {});

// `peaks`: the largest magnitude of each input feature, by the names of layers joined with '+' (LinearWeight::name).
void write_smoothed_model(const std::filesystem::path& from, const std::filesystem::path& to,
                          const std::unordered_map<std::string, std::vector<float>>& peaks, double alpha,
                          const TensorProgress& progress = {});

// x := x Q, the orthogonal transform of rotation, without its random signs: Hadamard over the power of two in `width`,
// cosine over the odd rest.
void hadamard_cosine_transform(float* x, int64_t width);

}  // namespace octavo
