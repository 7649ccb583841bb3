#include "ops/adamw/adamw_ref.h"

#include <cmath>

#include "core/element.h"

namespace octavo {

template <class Real>
void adamw_ref(const AdamWArgs& args) {
  if (args.skip && args.skip.as<int32_t>()[0] != 0) return;
  const int32_t step = ++args.step.as<int32_t>()[0];
  const Real lr = args.lr, beta1 = args.beta1, beta2 = args.beta2, eps = args.eps, decay = args.weight_decay;
  const Real correction1 = 1 - std::pow(beta1, static_cast<Real>(step));
  const Real correction2 = 1 - std::pow(beta2, static_cast<Real>(step));
  const Real scale = args.grad_scale ? static_cast<Real>(args.grad_scale.as<float>()[0]) : 1;

  for (const AdamWTensor& tensor : args.tensors) {
    const auto flat = [](const auto& t) {
      return Tensor(const_cast<void*>(t.data()), t.dtype(), {t.numel()});
    };
    const Tensor param = flat(tensor.param), grad = flat(tensor.grad);
    const Tensor exp_avg = flat(tensor.exp_avg), exp_avg_sq = flat(tensor.exp_avg_sq);
    for (int64_t i = 0; i < param.numel(); ++i) {
      const Real g = load_at<Real>(grad, i) / scale;
      Real p = load_at<Real>(param, i);
      p *= 1 - lr * decay;
      const Real m = beta1 * load_at<Real>(exp_avg, i) + (1 - beta1) * g;
      const Real v = beta2 * load_at<Real>(exp_avg_sq, i) + (1 - beta2) * g * g;
      p -= lr / correction1 * m / (std::sqrt(v) / std::sqrt(correction2) + eps);
      store_at(exp_avg, m, i);
      store_at(exp_avg_sq, v, i);
      store_at(param, p, i);
    }
  }
}

template void adamw_ref<double>(const AdamWArgs&);
template void adamw_ref<float>(const AdamWArgs&);

}  // namespace octavo
