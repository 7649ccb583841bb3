// Attention over a paged KV cache or over dense keys and values, the cache's writer, and sampling.
// The library trusts the pointers of a KvView; what Python hands in is checked here against the tensors it came from.
#include <fmt/format.h>

#include "bindings.h"
#include "core/check.h"
#include "op_call.h"
#include "ops/attention_f/attention_f.h"
#include "ops/kv_append/kv_append.h"
#include "ops/sample/sample.h"

namespace octavo::python {
namespace {

constexpr auto kWrite = TensorArgument::Access::write;
constexpr int64_t kPageTokens = KvView::kPageTokens;

// k and v of one type, shape and strides, unit stride in D.
void expect_pair(const char* op, const TensorArgument& k, const TensorArgument& v) {
  expect_shape(op, k.name(), k.tensor(), {-1, -1, -1, -1});
  expect_dtype(op, v.name(), v.tensor(), {k.dtype()});
  expect_shape(op, v.name(), v.tensor(), {k.dim(0), k.dim(1), k.dim(2), k.dim(3)});
  for (int d = 0; d < 4; ++d)
    if (k.dim(d) > 1 && k.stride(d) != v.stride(d))
      fail_argument(op, v.name(),
                    fmt::format("has stride {} in dimension {}, {} has {}; both need the same layout",
                                v.stride(d), d, k.name(), k.stride(d)));
}

void expect_dense(const char* op, const TensorArgument& t, std::initializer_list<int64_t> shape,
                  DType dtype) {
  expect_dtype(op, t.name(), t.tensor(), {dtype});
  expect_shape(op, t.name(), t.tensor(), shape);
  if (!t.tensor().dense()) fail_argument(op, t.name(), "is not contiguous; call .contiguous()");
}

// A pool of pages and the table that says which page holds which 64 keys of which sequence.
struct PagedCache {
  TensorArgument k, v, k_scale, v_scale, page_table;

  PagedCache(const char* op, nb::handle k_, nb::handle v_, nb::handle k_scale_, nb::handle v_scale_,
             nb::handle page_table_, TensorArgument::Access access)
      : k(op, "k_cache", k_, access),
        v(op, "v_cache", v_, access),
        k_scale(op, "k_scale", k_scale_, access),
        v_scale(op, "v_scale", v_scale_, access),
        page_table(op, "page_table", page_table_) {}

  int64_t pages() const { return k.dim(0); }
  int64_t sequences() const { return page_table.dim(0); }
  int64_t pages_per_sequence() const { return page_table.dim(1); }

  // [page][Hkv][64][D], scales [page][Hkv][64] with an int8 cache, page_table [B][pages of a sequence].
  KvView view(const char* op) const {
    expect_pair(op, k, v);
    if (k.dim(2) != kPageTokens)
      fail_argument(op, "k_cache",
                    fmt::format("has {} tokens a page, expected {}: [pages, heads, {}, width]", k.dim(2),
                                kPageTokens, kPageTokens));
    expect_dense(op, page_table, {-1, -1}, DType::i32);
    for (const TensorArgument* scale : {&k_scale, &v_scale})
      if (k.dtype() == DType::i8)
        expect_dense(op, *scale, {pages(), k.dim(1), kPageTokens}, DType::f32);
      else if (scale->given())
        fail_argument(op, scale->name(),
                      fmt::format("is given with a cache of {}; only int8 has scales", name_of(k.dtype())));
    KvView view;
    view.dtype = k.dtype(), view.k = k.data(), view.v = v.data();
    if (k_scale.given())
      view.k_scale = static_cast<float*>(k_scale.data()), view.v_scale = static_cast<float*>(v_scale.data());
    view.page_stride = k.stride(0), view.head_stride = k.stride(1), view.token_stride = k.stride(2);
    view.heads = k.dim(1), view.head_dim = k.dim(3);
    view.page_table = static_cast<const int32_t*>(page_table.data());
    view.pages_per_sequence = pages_per_sequence();
    view.backend = k.on_cuda() ? Backend::cuda : Backend::cpu;
    return view;
  }

  // NOTE: on a device the table is not read from here.
  void expect_page(const char* op, int64_t sequence, int64_t position) const {
    const int64_t page = position / kPageTokens;
    if (position < 0 || page >= pages_per_sequence()) return;  // the op says so
    const int32_t entry =
        static_cast<const int32_t*>(page_table.data())[sequence * pages_per_sequence() + page];
    if (entry < 0 || entry >= pages())
      fail_argument(op, "page_table",
                    fmt::format("holds {} for page {} of sequence {}, but k_cache has pages 0 to {}", entry,
                                page, sequence, pages() - 1));
  }
};

void run_attention(OpCall& call, const AttentionFArgs& args) {
  call.provide_workspace(attention_f_workspace_bytes(call.context(), args));
  call.run([&](const Context& ctx) { attention_f(ctx, args); });
}

void call_attention(nb::handle q_, nb::handle k_, nb::handle v_, nb::handle q_start_, nb::handle kv_len_,
                    nb::handle out_, nb::handle lse_, bool causal, float scale, int64_t window) {
  constexpr const char* op = "attention_f";
  const TensorArgument q(op, "q", q_), k(op, "k", k_), v(op, "v", v_), q_start(op, "q_start", q_start_);
  const TensorArgument kv_len(op, "kv_len", kv_len_), out(op, "out", out_, kWrite),
      lse(op, "lse", lse_, kWrite);
  OpCall call(op, {&q, &k, &v, &q_start, &kv_len, &out, &lse});
  expect_pair(op, k, v);
  expect_unit_stride(op, "k", k.tensor());
  const int64_t sequences = k.dim(0), keys = k.dim(1);
  expect_dense(op, kv_len, {sequences}, DType::i32);
  expect_dense(op, q_start, {sequences + 1}, DType::i32);
  if (!kv_len.on_cuda())
    for (int64_t b = 0; b < sequences; ++b)
      if (const int32_t n = static_cast<const int32_t*>(kv_len.data())[b]; n < 0 || n > keys)
        fail_argument(op, "kv_len", fmt::format("is {} for sequence {}, but k has 0 to {} keys", n, b, keys));
  KvView kv;
  kv.dtype = k.dtype(), kv.k = k.data(), kv.v = v.data();
  kv.sequence_stride = k.stride(0), kv.token_stride = k.stride(1), kv.head_stride = k.stride(2);
  kv.page_stride = kPageTokens * kv.token_stride;
  kv.heads = k.dim(2), kv.head_dim = k.dim(3);
  kv.pages_per_sequence = (keys + kPageTokens - 1) / kPageTokens;
  kv.backend = k.on_cuda() ? Backend::cuda : Backend::cpu;
  run_attention(call, {.q = q.tokens(),
                       .kv = kv,
                       .q_start = q_start.tensor(),
                       .kv_len = kv_len.tensor(),
                       .causal = causal,
                       .scale = scale,
                       .window = window,
                       .out = out.tokens(),
                       .lse = lse.rows()});
}

void call_attention_paged(nb::handle q_, nb::handle k_cache_, nb::handle v_cache_, nb::handle page_table_,
                          nb::handle q_start_, nb::handle kv_len_, nb::handle k_scale_, nb::handle v_scale_,
                          nb::handle out_, nb::handle lse_, bool causal, float scale, int64_t window) {
  constexpr const char* op = "attention_f";
  const TensorArgument q(op, "q", q_), q_start(op, "q_start", q_start_), kv_len(op, "kv_len", kv_len_);
  const TensorArgument out(op, "out", out_, kWrite), lse(op, "lse", lse_, kWrite);
  const PagedCache cache(op, k_cache_, v_cache_, k_scale_, v_scale_, page_table_,
                         TensorArgument::Access::read);
  OpCall call(op, {&q, &cache.k, &cache.v, &cache.k_scale, &cache.v_scale, &cache.page_table, &q_start,
                   &kv_len, &out, &lse});
  const KvView kv = cache.view(op);
  expect_unit_stride(op, "k_cache", cache.k.tensor());
  expect_dense(op, kv_len, {cache.sequences()}, DType::i32);
  expect_dense(op, q_start, {cache.sequences() + 1}, DType::i32);
  if (!kv_len.on_cuda())
    for (int64_t b = 0; b < cache.sequences(); ++b)
      for (int64_t p = 0; p < static_cast<const int32_t*>(kv_len.data())[b]; p += kPageTokens)
        cache.expect_page(op, b, p);
  run_attention(call, {.q = q.tensor(),
                       .kv = kv,
                       .q_start = q_start.tensor(),
                       .kv_len = kv_len.tensor(),
                       .causal = causal,
                       .scale = scale,
                       .window = window,
                       .out = out.tensor(),
                       .lse = lse.tensor()});
}

void call_kv_append(nb::handle k_, nb::handle v_, nb::handle positions_, nb::handle sequences_,
                    nb::handle k_cache_, nb::handle v_cache_, nb::handle page_table_, nb::handle k_scale_,
                    nb::handle v_scale_) {
  constexpr const char* op = "kv_append";
  const TensorArgument k(op, "k", k_), v(op, "v", v_), positions(op, "positions", positions_);
  const TensorArgument sequences(op, "sequences", sequences_);
  const PagedCache cache(op, k_cache_, v_cache_, k_scale_, v_scale_, page_table_, kWrite);
  OpCall call(op, {&k, &v, &positions, &sequences, &cache.k, &cache.v, &cache.k_scale, &cache.v_scale,
                   &cache.page_table});
  const KvAppendArgs args{.k = k.tensor(),
                          .v = v.tensor(),
                          .sequences = sequences.tensor(),
                          .positions = positions.tensor(),
                          .cache = cache.view(op)};
  expect_unit_stride(op, "k_cache", cache.k.tensor());
  expect_shape(op, "k", args.k, {-1, -1, -1});
  expect_dense(op, positions, {k.dim(0)}, DType::i32);
  if (sequences.given()) expect_dense(op, sequences, {k.dim(0)}, DType::i32);
  if (!positions.on_cuda())
    for (int64_t t = 0; t < k.dim(0); ++t) {
      const int32_t sequence = sequences.given() ? static_cast<const int32_t*>(sequences.data())[t] : 0;
      if (sequence < 0 || sequence >= cache.sequences())
        fail_argument(op, "sequences",
                      fmt::format("names sequence {} for token {}, but page_table has sequences 0 to {}",
                                  sequence, t, cache.sequences() - 1));
      cache.expect_page(op, sequence, static_cast<const int32_t*>(positions.data())[t]);
    }
  call.run([&](const Context& ctx) { kv_append(ctx, args); });
}

void call_sample(nb::handle logits_, nb::handle history_, nb::handle id_, float temperature, int top_k,
                 float top_p, float min_p, float repetition_penalty, uint64_t seed, uint64_t step) {
  constexpr const char* op = "sample";
  const TensorArgument logits(op, "logits", logits_), history(op, "history", history_),
      id(op, "id", id_, kWrite);
  OpCall call(op, {&logits, &history, &id});
  const SampleArgs args{.logits = logits.tensor(),
                        .history = history.tensor(),
                        .options = {temperature, top_k, top_p, min_p, repetition_penalty},
                        .seed = seed,
                        .step = step,
                        .id = id.tensor()};
  expect_shape(op, "logits", args.logits, {-1});
  call.provide_workspace(sample_workspace_bytes(call.context(), args));
  call.run([&](const Context& ctx) { sample(ctx, args); });
}

}  // namespace

void bind_attention_ops(nb::module_& m) {
  const auto tensor = [](const char* name) { return nb::arg(name).noconvert().none(); };
  m.def("attention", &call_attention, tensor("q"), tensor("k"), tensor("v"), tensor("q_start"),
        tensor("kv_len"), tensor("out"), tensor("lse"), nb::arg("causal"), nb::arg("scale"),
        nb::arg("window"));
  m.def("attention_paged", &call_attention_paged, tensor("q"), tensor("k_cache"), tensor("v_cache"),
        tensor("page_table"), tensor("q_start"), tensor("kv_len"), tensor("k_scale"), tensor("v_scale"),
        tensor("out"), tensor("lse"), nb::arg("causal"), nb::arg("scale"), nb::arg("window"));
  m.def("kv_append", &call_kv_append, tensor("k"), tensor("v"), tensor("positions"), tensor("sequences"),
        tensor("k_cache"), tensor("v_cache"), tensor("page_table"), tensor("k_scale"), tensor("v_scale"));
  m.def("sample", &call_sample, tensor("logits"), tensor("history"), tensor("id"), nb::arg("temperature"),
        nb::arg("top_k"), nb::arg("top_p"), nb::arg("min_p"), nb::arg("repetition_penalty"), nb::arg("seed"),
        nb::arg("step"));
}

}  // namespace octavo::python
