#include "model/family.h"

#include <fmt/format.h>

#include <algorithm>

namespace octavo {
namespace {

constexpr const Family* kFamilies[] = {&kLlama, &kMistral, &kQwen2,   &kQwen3,
                                       &kPhi3,  &kGpt2,    &kGptNeoX, &kBert};

}  // namespace

std::span<const Family* const> families() { return kFamilies; }

const Family* find_family(std::string_view architecture) {
  for (const Family* f : kFamilies)
    if (!architecture.empty() && std::ranges::find(f->architectures, architecture) != f->architectures.end())
      return f;
  return nullptr;
}

void read_sizes(const ConfigObject& config, ModelConfig& c, const SizeKeys& keys) {
  c.hidden = config.integer(keys.hidden);
  c.layers = config.integer(keys.layers, 1, 10000);
  c.heads = config.integer(keys.heads);
  c.kv_heads = config.integer_or("num_key_value_heads", c.heads);
  if (c.heads % c.kv_heads != 0)
    config.fail("num_key_value_heads", fmt::format("a divisor of {} = {}", keys.heads, c.heads));
  if (!config.has("head_dim") && c.hidden % c.heads != 0)
    config.fail(keys.heads,
                fmt::format("a divisor of {} = {} (there is no head_dim)", keys.hidden, c.hidden));
  c.head_dim = config.integer_or("head_dim", c.hidden / c.heads);
  c.vocab = config.integer("vocab_size");
  c.max_positions = config.integer_or(keys.max_positions, 2048);
  const std::vector<int64_t> bos = config.integers("bos_token_id");
  if (!bos.empty()) c.bos_id = static_cast<int32_t>(bos.front());
  for (int64_t id : config.integers("eos_token_id")) {
    if (id >= c.vocab) config.fail("eos_token_id", fmt::format("ids below vocab_size = {}", c.vocab));
    c.eos_ids.push_back(static_cast<int32_t>(id));
  }
}

MlpKind read_gelu(const ConfigObject& config, const char* key) {
  const std::string name =
      config.string_or(key, key == std::string_view("activation_function") ? "gelu_new" : "gelu");
  if (name == "gelu" || name == "gelu_python") return MlpKind::gelu_erf;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return MlpKind::gelu_tanh;
  config.fail(key, "one of: gelu, gelu_new, gelu_fast, gelu_pytorch_tanh");
}

}  // namespace octavo
