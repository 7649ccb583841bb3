// One AdamW step of many tensors in one call (Loshchilov and Hutter, arXiv 1711.05101), in torch.optim.AdamW's order:
//   step += 1;  g = grad / grad_scale
//   param *= 1 - lr * weight_decay
//   exp_avg    = beta1 * exp_avg    + (1 - beta1) * g
//   exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g^2
//   param -= lr / (1 - beta1^step) * exp_avg / (sqrt(exp_avg_sq) / sqrt(1 - beta2^step) + eps)
// in fp32, one rounding of param to its type at the end. A nonzero `skip` leaves everything as it is, step included.
#pragma once
#include <span>

#include "core/context.h"

namespace octavo {

struct AdamWTensor {
  Tensor param;       // any shape, dense, f32 | bf16
  ConstTensor grad;   // param's shape, dense, f32 | bf16
  Tensor exp_avg;     // param's shape, dense, f32
  Tensor exp_avg_sq;  // param's shape, dense, f32
};

struct AdamWArgs {
  std::span<const AdamWTensor> tensors;
  float lr = 1e-3f;            // >= 0
  float beta1 = 0.9f;          // [0, 1)
  float beta2 = 0.999f;        // [0, 1)
  float eps = 1e-8f;           // >= 0
  float weight_decay = 1e-2f;  // >= 0, decoupled from the gradient
  Tensor step;                 // [1] i32: steps done so far, at least 0; the call adds 1
  ConstTensor skip;            // optional: [1] i32, nonzero: nothing changes (a gradient overflowed)
  ConstTensor grad_scale;      // optional: [1] f32, the loss scale; gradients are divided by it
};

// Throws Error(usage) naming the tensor and the argument when shapes, dtypes or numbers do not fit, before any change.
void adamw(const Context& ctx, const AdamWArgs& args);
KernelInfo adamw_variant(const Context& ctx, const AdamWArgs& args);

}  // namespace octavo
