#include "harness/onednn_peer.h"
#include "ops/gemm_f/gemm_f_cases.h"

namespace octavo {
namespace {

// oneDNN in f32; it has no product of f32 activations and bf16 weights.
std::vector<harness::Peer> peers(const harness::OpCase& c, const Context&,
                                 const std::vector<std::vector<Tensor>>& sets) {
  std::vector<harness::Peer> all;
#if defined(OCTAVO_HAVE_ONEDNN)
  using Type = dnnl::memory::data_type;
  if (sets[0][1].dtype() != DType::f32) return all;
  const int64_t m = c.shape[0].second, n = c.shape[1].second, k = c.shape[2].second;
  std::vector<void*> x, w;
  for (const auto& set : sets) x.push_back(set[0].data()), w.push_back(set[1].data());
  const auto sum = [&](int64_t row, int64_t column) {
    const float *a = sets[0][0].as<float>() + row * k, *b = sets[0][1].as<float>() + column * k;
    double acc = 0;
    for (int64_t i = 0; i < k; ++i) acc += double{a[i]} * b[i];
    return acc;
  };
  const harness::OnednnMatmul::Types types{Type::f32, Type::f32, Type::f32};
  const auto matmul = std::make_shared<harness::OnednnMatmul>(types, m, n, k, x, w);
  all.push_back(harness::onednn_peer("f32", matmul, harness::share_wrong<float>(*matmul, m, n, 1e-3, sum)));
#else
  static_cast<void>(c), static_cast<void>(sets);
#endif
  return all;
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "gemm_f", octavo::gemm_f_cases(), octavo::peers);
}
