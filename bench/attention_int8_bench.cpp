// attention_int8 on the CPU beside attention_f of the same shape, and the whole call from floats.
#include <cmath>
#include <memory>

#include "harness/bench_main.h"
#include "ops/attention_f/attention_f_cases.h"
#include "ops/attention_int8/attention_int8_cases.h"

namespace octavo {
namespace {

// A call of attention_f on the same shape, and what it reads and writes.
struct FloatAttention {
  std::vector<harness::HostTensor> tensors;
  harness::OpCase of;
  std::vector<Tensor> views;
  Context ctx;
  Buffer scratch;

  FloatAttention(const AttentionShape& s, const Context& given)
      : tensors(harness::make_args(attention_case(s, ""))),
        of(attention_case(s, "")),
        ctx(given),
        scratch(0) {
    for (const auto& t : tensors) views.push_back(t.view());
    scratch = Buffer(attention_f_workspace_bytes(ctx, attention_args(s, views)) + 1);
    ctx.workspace = Tensor(scratch.data(), DType::u8, {scratch.bytes()});
  }
  void call() const { of.call(ctx, views); }
};

// The whole call from f16: codes of q, k and v included.
struct WholeCall {
  harness::HostTensor q, k, v, out;
  AttentionInt8FloatArgs args;
  Context ctx;
  Buffer scratch;

  WholeCall(const std::vector<int64_t>& shape, bool causal, const Context& given)
      : q(DType::f16, shape),
        k(DType::f16, shape),
        v(DType::f16, shape),
        out(DType::f16, shape),
        ctx(given),
        scratch(0) {
    q.fill_normal(1), k.fill_normal(2), v.fill_normal(3);
    args = {.q = q.view(), .k = k.view(), .v = v.view(), .causal = causal, .out = out.view(), .lse = {}};
    args.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape[3])));
    scratch = Buffer(attention_int8_floats_workspace_bytes(ctx, args));
    ctx.workspace = Tensor(scratch.data(), DType::u8, {scratch.bytes()});
  }
  void call() const { attention_int8_floats(ctx, args); }
};

std::vector<harness::Peer> peers(const harness::OpCase& c, const Context& ctx,
                                 const std::vector<std::vector<Tensor>>&) {
  const auto size = [&](size_t i) { return c.shape[i].second; };
  const bool causal = c.name.find("causal") != std::string::npos;
  std::vector<harness::Peer> all;
  for (const DType dtype : {DType::f32, DType::f16}) {
    const auto made = std::make_shared<FloatAttention>(AttentionShape{.queries = {size(3)},
                                                                      .keys = {size(4)},
                                                                      .q_heads = size(1),
                                                                      .kv_heads = size(2),
                                                                      .head_dim = size(5),
                                                                      .q = dtype,
                                                                      .kv = dtype,
                                                                      .causal = causal,
                                                                      .paged = false},
                                                       ctx);
    all.push_back({"attention_f", name_of(dtype), [made] { made->call(); }});
  }
  if (size(1) == size(2) && size(3) == size(4)) {
    const auto made =
        std::make_shared<WholeCall>(std::vector{size(0), size(1), size(3), size(5)}, causal, ctx);
    all.push_back({"octavo", fmt::format("{}, from f16", name_of(ctx.isa)), [made] { made->call(); }});
  }
  return all;
}

// NOTE: here alone: the digest of the case table is part of the GPU's receipts.
std::vector<harness::OpCase> cases() {
  std::vector<harness::OpCase> all;
  for (const int64_t dim : {64, 128})
    for (const int64_t n : {1024, 4096})
      for (const bool causal : {false, true})
        all.push_back(attention_int8_case(
            {.q_heads = 8, .kv_heads = 8, .sq = n, .sk = n, .dim = dim, .causal = causal}, "a prompt", true));
  all.push_back(attention_int8_case(
      {.q_heads = 32, .kv_heads = 8, .sq = 1, .sk = 4096, .dim = 128, .causal = true}, "a token", true));
  return all;
}

}  // namespace
}  // namespace octavo

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "attention_int8", octavo::cases(), octavo::peers);
}
