// The input is a .gguf file: header, then what its configuration, its tensors and its tokenizer would be.
#include "formats/gguf.h"

#include "formats/gguf_model.h"
#include "fuzz/rewritten_file.h"
#include "tokenizer/gguf_tokenizer.h"

namespace octavo::fuzz {
namespace {

void read_all(const GgufFile& file) {
  std::string bytes;
  for (const TensorInfo& t : file.tensors()) {
    require(t.end >= t.begin, "a tensor of negative size");
    bytes.resize(static_cast<size_t>(t.bytes()));
    file.read(t, 0, bytes.data(), t.bytes());
    if (t.dtype_name != kQ8_0) continue;
    std::vector<float> values(static_cast<size_t>(t.bytes() / kQ8_0Bytes * kQ8_0Elems));
    dequantize_q8_0(bytes.data(), values.data(), static_cast<int64_t>(values.size()));
  }
}

}  // namespace

bool gguf(std::string_view input) {
  static const harness::TempFolder folder;
  static const RewrittenFile file(folder / "model.gguf");
  file.fill(input);
  const bool opened = accepted({ErrorKind::bad_model}, [] { read_all(GgufFile::open(file.path())); });
  if (!opened) return false;
  const GgufFile again = GgufFile::open(file.path());
  accepted({ErrorKind::bad_model}, [&] { gguf_model_config(again); });
  accepted({ErrorKind::bad_model}, [&] { gguf_model_tensors(again); });
  accepted({ErrorKind::bad_model, ErrorKind::usage}, [&] {
    const Tokenizer tokenizer = load_gguf_tokenizer(again);
    const auto ids = tokenizer.encode("Hello world, it's 1234!\n \u00e9\u2581\U0001f600");
    tokenizer.decode(ids);
  });
  return true;
}

}  // namespace octavo::fuzz
