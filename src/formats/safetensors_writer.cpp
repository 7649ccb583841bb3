#include "formats/safetensors_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "core/error.h"
#include "formats/in_quotes.h"
#include "formats/safetensors.h"

namespace octavo {
namespace {

[[noreturn]] void fail(const std::string& problem) {
  throw Error(ErrorKind::usage, "safetensors writer: " + problem);
}

int bits_of(const TensorSpec& t) {
  const auto bits = safetensors_dtype_bits(t.dtype_name);
  if (!bits) fail(fmt::format("tensor {}: unknown dtype {}", in_quotes(t.name), in_quotes(t.dtype_name)));
  return *bits;
}

std::string length_prefix(uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i) & 0xff);
  return bytes;
}

std::string as_text(const nlohmann::json& value) {
  try {
    return value.dump();
  } catch (const nlohmann::json::exception&) {
    fail("a tensor name or metadata text is not valid UTF-8");
  }
}

}  // namespace

SafetensorsWriter::Layout SafetensorsWriter::lay_out(std::vector<TensorSpec> tensors,
                                                     const std::map<std::string, std::string>& metadata) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorSpec& a, const TensorSpec& b) {
    const int a_bits = bits_of(a), b_bits = bits_of(b);
    return std::tie(b_bits, a.name) < std::tie(a_bits, b.name);
  });
  Layout layout;
  std::string text = "{";
  if (!metadata.empty()) text += "\"__metadata__\":" + as_text(metadata);
  int64_t end = 0;
  for (const TensorSpec& t : tensors) {
    const auto bytes = checked_tensor_bytes(bits_of(t), t.shape);
    const int64_t begin = end;
    if (!bytes || __builtin_add_overflow(begin, *bytes, &end))
      fail(fmt::format("tensor {} has no valid size", in_quotes(t.name)));
    if (t.name == "__metadata__" || !layout.spans.emplace(t.name, Span{begin, end}).second)
      fail(fmt::format("tensor name {} is {}", in_quotes(t.name),
                       t.name == "__metadata__" ? "reserved" : "given twice"));
    text +=
        fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{},{}]}}",
                    text.size() > 1 ? "," : "", as_text(t.name), t.dtype_name, as_text(t.shape), begin, end);
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (static_cast<int64_t>(text.size()) > kMaxSafetensorsHeader)
    fail(fmt::format("header of {} bytes, the limit is {}", text.size(), kMaxSafetensorsHeader));
  layout.header = length_prefix(text.size()) + text;
  const auto data_begin = static_cast<int64_t>(layout.header.size());
  for (auto& [name, span] : layout.spans) span.next += data_begin, span.end += data_begin;
  layout.file_bytes = data_begin + end;
  return layout;
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& target, std::vector<TensorSpec> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : SafetensorsWriter(target, lay_out(std::move(tensors), metadata)) {}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& target, Layout layout)
    : spans_(std::move(layout.spans)), file_(target, layout.file_bytes) {
  file_.write(0, layout.header.data(), static_cast<int64_t>(layout.header.size()));
}

void SafetensorsWriter::append(const std::string& name, const void* data, int64_t bytes) {
  const auto it = spans_.find(name);
  if (it == spans_.end()) fail("no tensor " + in_quotes(name) + " was announced");
  Span& span = it->second;
  if (bytes < 0 || bytes > span.end - span.next)
    fail(fmt::format("tensor {}: {} more bytes given, {} are missing", in_quotes(name), bytes,
                     span.end - span.next));
  file_.write(span.next, data, bytes);
  span.next += bytes;
}

void SafetensorsWriter::seal() {
  for (const auto& [name, span] : spans_)
    if (span.next != span.end)
      fail(fmt::format("tensor {}: {} bytes are missing", in_quotes(name), span.end - span.next));
  file_.seal();
}

void SafetensorsWriter::commit() {
  seal();
  file_.commit();
}

}  // namespace octavo
