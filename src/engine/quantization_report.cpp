#include "engine/quantization_report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace octavo {
namespace {

double change_percent(const Evaluation& a) { return 100 * (a.perplexity / a.perplexity_reference - 1); }

// "model.layers.0.self_attn.q_proj+model.layers.0.self_attn.k_proj" -> "layers.0.self_attn.q_proj+k_proj"
std::string short_name(const std::string& layer) {
  const size_t plus = layer.find('+');
  const std::string first = layer.substr(0, plus);
  std::string name = first.starts_with("model.") ? first.substr(6) : first;
  const std::string folder = first.substr(0, first.rfind('.') + 1);
  for (size_t at = plus; at != layer.npos; at = layer.find('+', at + 1)) {
    const std::string part = layer.substr(at + 1, layer.find('+', at + 1) - at - 1);
    name += "+" + (part.starts_with(folder) ? part.substr(folder.size()) : part);
  }
  return name;
}

}  // namespace

nlohmann::ordered_json to_json(const Evaluation& a) {
  nlohmann::ordered_json j;
  j["tokens"] = a.tokens, j["windows"] = a.windows;
  j["perplexity_reference"] = a.perplexity_reference, j["perplexity"] = a.perplexity;
  j["mean_kl"] = a.mean_kl, j["p99_kl"] = a.p99_kl, j["max_kl"] = a.max_kl;
  j["top1_agreement"] = a.top1_agreement;
  j["seconds_reference"] = a.seconds_reference, j["seconds"] = a.seconds;
  return j;
}

nlohmann::ordered_json to_json(const QuantizationReport& r) {
  nlohmann::ordered_json j;
  j["schema"] = 1;
  j["source"] = r.source, j["text"] = r.text, j["transforms"] = r.transforms;
  j["quantization"] = r.quantization, j["kv_cache_dtype"] = r.kv_cache_dtype, j["isa"] = r.isa;
  j["bytes_before"] = r.bytes_before, j["bytes_after"] = r.bytes_after;
  j["accuracy"] = to_json(r.accuracy);
  j["worst_layers"] = nlohmann::ordered_json::array();
  for (const LayerError& e : r.worst_layers)
    j["worst_layers"].push_back({{"layer", e.layer}, {"output_error", e.output_error}});
  j["notes"] = r.notes;
  return j;
}

std::string to_text(const QuantizationReport& r) {
  const Evaluation& a = r.accuracy;
  std::string text =
      fmt::format("accuracy on {} ({} tokens), {} with a {} cache against the unquantised model in fp32\n",
                  r.text, a.tokens, r.quantization, r.kv_cache_dtype);
  text += fmt::format("  perplexity        {:.4f} (unquantised {:.4f}, {:+.3f} %)\n", a.perplexity,
                      a.perplexity_reference, change_percent(a));
  text += fmt::format("  mean KL           {:.6f} nats (p99 {:.5f}, max {:.5f})\n", a.mean_kl, a.p99_kl,
                      a.max_kl);
  text += fmt::format("  top-1 agreement   {:.2f} %\n", 100 * a.top1_agreement);
  const char* label = "largest errors";
  for (const LayerError& e : r.worst_layers) {
    text += fmt::format("  {:<17} {:.3f} % of the output of {}\n", label, 100 * e.output_error,
                        short_name(e.layer));
    label = "";
  }
  return text;
}

std::string to_markdown(const QuantizationReport& r) {
  const Evaluation& a = r.accuracy;
  std::string text = "# INT8 weights by octavo\n\n";
  text += fmt::format(
      "Made from `{}` with `octavo quantize{}`: symmetric INT8 weights with one scale for each output "
      "channel, in the "
      "`compressed-tensors` layout `int-quantized`; activations are quantised per token while running. {} "
      "bytes of tensors "
      "became {}. Licence and terms are those of the source.\n\n",
      r.source, r.transforms.empty() ? "" : " " + r.transforms, r.bytes_before, r.bytes_after);
  text += fmt::format(
      "Measured on {} tokens of {}, mode `{}` with a {} KV cache on `{}`, against the source "
      "unquantised:\n\n",
      a.tokens, r.text, r.quantization, r.kv_cache_dtype, r.isa);
  text += "| | unquantised | INT8 | change |\n|---|---|---|---|\n";
  text += fmt::format("| perplexity | {:.4f} | {:.4f} | {:+.3f} % |\n", a.perplexity_reference, a.perplexity,
                      change_percent(a));
  text +=
      fmt::format("| mean KL (nats) | | {:.6f} | |\n| p99 KL (nats) | | {:.5f} | |\n", a.mean_kl, a.p99_kl);
  text += fmt::format("| top-1 agreement | | {:.2f} % | |\n\n", 100 * a.top1_agreement);
  text += "| layers with the largest errors | error of the output |\n|---|---|\n";
  for (const LayerError& e : r.worst_layers)
    text += fmt::format("| `{}` | {:.3f} % |\n", short_name(e.layer), 100 * e.output_error);
  for (const std::string& note : r.notes) text += "\nNote: " + note + ".\n";
  return text + "\nThe same figures with all digits are in `octavo_report.json`.\n";
}

}  // namespace octavo
