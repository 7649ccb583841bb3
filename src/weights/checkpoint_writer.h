// Writes a model folder in INT8: the compressed-tensors `int-quantized` layout, which vLLM, SGLang and transformers read
// too. Linear layers become `<name>.weight` I8 [N, K] (exactly K, no pitch) and `<name>.weight_scale` F32 [N, 1], by the
// quantize_rows op, so that reading the folder gives the same codes and scales as quantising while loading; everything
// else is copied as stored. Scales are F32, not the model's type as llm-compressor writes them: rounding 127 codes' step
// to bf16 would change every weight by up to 0.4 %, and vLLM keeps scales in F32 anyway.
//
// The folder is complete or absent: all files are written and synced under temporary names with their space reserved
// before any work, then renamed, the index and config.json last, since a folder without them is no model. On an error
// nothing is left behind.
// `from` may be a .gguf file; its Q8_0 tensors are quantised anew, and F32 where they stay floats.
// Errors: usage for a target that must not be written to; bad_model for the input; runtime from the disk.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.h"

namespace octavo {

// True for the names that Linear layers have in folders of the Llama kind: neither embeddings nor norms nor convolutions.
// (GPT-2 stores its products transposed, as Conv1D: they are none.)
bool looks_like_linear(std::string_view module);

// True for what makes a folder a model beside weights and config.json: tokenizer, generation settings, licence.
bool is_side_file(const std::filesystem::path& name);

struct CheckpointOptions {
  // Modules left as stored, beside all that is not Linear. lm_head as llm-compressor does; empty quantises it as well.
  // (When loading, octavo quantises the embedding and the head in memory by its own mode, whatever the file holds.)
  std::vector<std::string> ignore = {"lm_head"};
  bool force = false;  // allow a target folder with files in it: those of a model are replaced, others stay
  // More files for the folder, by name: the tokenizer of a GGUF file, which has no files of its own.
  std::vector<std::pair<std::string, std::string>> extra_files;
  int64_t shard_bytes = 5'000'000'000;  // more data than this goes into several files
  // Which two-dimensional `<module>.weight` tensors are Linear layers.
  std::function<bool(std::string_view module)> is_linear = looks_like_linear;
  std::function<void(int64_t done, int64_t total)> progress;  // bytes of input
};

struct CheckpointSummary {
  int64_t quantized_tensors = 0, copied_tensors = 0;
  int64_t bytes_in = 0, bytes_out = 0;  // of tensor data
  std::vector<std::string> files;       // names in the target folder, in the order of their renaming
};

CheckpointSummary write_int8_checkpoint(const std::filesystem::path& from, const std::filesystem::path& to,
                                        const Context& ctx, const CheckpointOptions& options = {});

}  // namespace octavo
