#include "harness/onednn_peer.h"
#include "ops/gemm_w8a8/gemm_w8a8_cases.h"

namespace octavo {
namespace {

// oneDNN gets an easier task: sums in s32, no scales. NOTE: without VNNI its products of 8-bit codes saturate in s16, so
// its row says how many sums of the case's data are wrong; with weights of 7 bits every sum must be right.
std::vector<harness::Peer> peers(const harness::OpCase& c, const Context&,
                                 const std::vector<std::vector<Tensor>>& sets) {
  std::vector<harness::Peer> all;
#if defined(OCTAVO_HAVE_ONEDNN)
  using Type = dnnl::memory::data_type;
  const int64_t m = c.shape[0].second, n = c.shape[1].second, k = c.shape[2].second;
  std::vector<void*> x, w;
  for (const auto& set : sets) x.push_back(set[0].data()), w.push_back(set[1].data());
  std::vector<int8_t> halves(static_cast<size_t>(n * k));
  for (size_t i = 0; i < halves.size(); ++i)
    halves[i] = static_cast<int8_t>(static_cast<int8_t*>(w[0])[i] / 2);
  for (const auto& [name, type] : {std::pair{"u8s8", Type::u8}, std::pair{"s8s8", Type::s8}}) {
    const auto sum = [&, is_signed = type == Type::s8](const int8_t* weights, int64_t row, int64_t column) {
      const int8_t *a = sets[0][0].as<int8_t>() + row * k, *b = weights + column * k;
      int64_t acc = 0;
      for (int64_t i = 0; i < k; ++i)
        acc += (is_signed ? int64_t{a[i]} : int64_t{static_cast<uint8_t>(a[i])}) * b[i];
      return static_cast<double>(acc);
    };
    const harness::OnednnMatmul::Types types{type, Type::s8, Type::s32};
    harness::OnednnMatmul small_codes(types, m, n, k, {x[0]}, {halves.data()});
    const auto right = [&](int64_t row, int64_t column) { return sum(halves.data(), row, column); };
    if (const double wrong = harness::share_wrong<int32_t>(small_codes, m, n, 0, right); wrong > 0)
      throw Error(ErrorKind::runtime,
                  fmt::format("onednn {}: {:.0f}% of the sums of {} are wrong", name, 100 * wrong, c.name));
    const auto matmul = std::make_shared<harness::OnednnMatmul>(types, m, n, k, x, w);
    const auto want = [&](int64_t row, int64_t column) { return sum(sets[0][1].as<int8_t>(), row, column); };
    all.push_back(harness::onednn_peer(name, matmul, harness::share_wrong<int32_t>(*matmul, m, n, 0, want)));
  }
#else
  static_cast<void>(c), static_cast<void>(sets);
#endif
  return all;
}

// NOTE: squares are timed here alone: the digest of the case table is part of the GPU's receipts.
std::vector<harness::OpCase> cases() {
  std::vector<harness::OpCase> all = gemm_w8a8_cases();
  for (const int64_t m : {1, 8, 64, 512})
    all.push_back(gemm_w8a8_case({.m = m, .n = 4096, .k = 4096, .code_sum = true, .perf = true}, "a square"));
  return all;
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "gemm_w8a8", octavo::cases(), octavo::peers);
}
