// From a model folder on disk to weights in memory, one tensor at a time: read in row blocks and quantised
// while reading, so that peak memory is the result plus one block. Reads plain fp32/fp16/bf16 folders, and
// the INT8 folders of compressed-tensors and bitsandbytes, whichever config.json's quantization_config says;
// and GGUF files, whose Q8_0 tensors become f32 row by row before anything else (so that Storage::int8 has
// octavo's one scale per row). Knows names and shapes only as the caller asks for them; what a model is made
// of is said in src/model.
//
//   WeightLoader loader = WeightLoader::open("folder", ctx);
//   LinearWeight qkv = loader.load_linear({.parts = {{"model.layers.0.self_attn.q_proj", 64}, ...},
//   .in_features = 64},
//                                         Storage::int8);
//   FloatVector norm = loader.load_vector("model.norm.weight", 64);
//   loader.finish();   // a tensor of the file that nobody asked for is an error
//
// Errors: bad_model for a file that is missing, damaged, not understood or at odds with what is asked for
// (the message names the file, the tensor and both shapes); out_of_memory; runtime for a failing disk.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/context.h"
#include "formats/tensor_folder.h"
#include "weights/linear.h"
#include "weights/quantization_config.h"

namespace octavo {

// Where octavo runs a checkpoint otherwise than it was written, one sentence each: static activation scales, outlier
// columns of bitsandbytes, GGUF blocks. Reads config and headers only.
std::vector<std::string> checkpoint_notes(const std::filesystem::path& model);

// Rows of one layer of the file: the tensor `<module>.weight` [rows, in_features], with bias `<module>.bias`
// [rows].
struct LinearPart {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  int64_t rows = 0;
};

// One weight in memory out of one or several layers of the file, rows below each other (q, k, v; gate, up).
struct LinearRequest {
  std::vector<LinearPart> parts;
  int64_t in_features = 0;
  bool bias =
      false;  // true: every part must have a bias; false: one in the file stays unused, and finish() says so
  bool transposed = false;  // the file holds [in_features, rows], as GPT-2's Conv1D does; floats only
};

class WeightLoader {
 public:
  // `path`: a folder with config.json, a .safetensors file in one, or a .gguf file. ctx.pool quantises; it must outlive the
  // loader.
  static WeightLoader open(const std::filesystem::path& path, const Context& ctx);

  // True when config.json has a quantization_config: Linear layers are INT8 in the file.
  bool file_is_quantized() const { return quantization_.present(); }
  const QuantizationConfig& quantization() const { return quantization_; }
  const TensorFolder& files() const { return files_; }
  bool has(std::string_view tensor) const { return files_.find(tensor) != nullptr; }

  // Storage::int8: floats are quantised row by row by the quantize_rows op, INT8 layers are taken as they
  // are, -128 and all. Storage::floats: floats as stored (parts of unequal type widen to f32), INT8 layers as
  // f32 code * scale.
  LinearWeight load_linear(const LinearRequest& request, Storage storage);
  // `<module>.weight` [rows, width]: an embedding table. The same as load_linear of one part.
  LinearWeight load_table(const std::string& module, int64_t rows, int64_t width, Storage storage);
  // The whole tensor name, e.g. "model.norm.weight"; f32, f16 or bf16 [size].
  FloatVector load_vector(const std::string& tensor, int64_t size);

  // Tensors that need not be loaded: by full name (a tied "lm_head.weight"). Unknown names are fine. Tensors
  // that end in
  // ".rotary_emb.inv_freq" are always ignored: every reader computes them.
  void ignore(const std::string& tensor) { used_.insert(tensor); }
  // Names that nothing loaded or ignored, in file order.
  std::vector<std::string> unused() const;
  // Throws bad_model naming the unused tensors: config.json describes another model than the file holds.
  void finish() const;

  // Called after every block with the bytes of tensors read so far and the bytes of all tensors.
  void on_progress(std::function<void(int64_t, int64_t)> callback) { progress_ = std::move(callback); }

 private:
  struct Source;  // one part, found in the files and checked
  WeightLoader(TensorFolder files, QuantizationConfig quantization, const Context& ctx);

  [[noreturn]] void fail_at(const TensorInfo& tensor, const std::string& problem) const;
  const TensorInfo& take(const std::string& name, const std::vector<int64_t>& shape);
  Source find_source(const LinearPart& part, int64_t in_features, bool transposed);
  void find_compressed_scale(const std::string& module, Source& source);
  void find_bitsandbytes_scale(const std::string& module, Source& source);
  void read_rows(const Source& source, int64_t row, int64_t rows, void* to);
  Buffer read_transposed(const TensorInfo& tensor);
  void load_int8_rows(const Source& source, int64_t first_row, LinearWeight& to);
  void load_float_rows(const Source& source, int64_t first_row, LinearWeight& to);
  std::vector<float> read_scales(const Source& source);
  void read_floats(const TensorInfo& tensor, float* to);
  void read_block(const TensorInfo& tensor, int64_t offset, void* to, int64_t bytes);

  TensorFolder files_;
  QuantizationConfig quantization_;
  Context ctx_;
  std::unordered_set<std::string> used_;
  std::function<void(int64_t, int64_t)> progress_;
  int64_t bytes_read_ = 0;
};

}  // namespace octavo
