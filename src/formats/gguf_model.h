// A GGUF file in the terms of a Hugging Face folder: what its config.json would say and what its tensors would be called.
// Architectures llama (Llama, Mistral), qwen2 and qwen3; any other is refused by name, as is every `<architecture>.` key
// and tensor that octavo does not know, since each may change what the model computes.
// Errors: bad_model naming the file and the key or tensor.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "formats/gguf.h"
#include "formats/json_file.h"

namespace octavo {

// config.json of a model folder (or of the folder that a .safetensors file lies in), or what it would be for a .gguf file.
ConfigObject read_model_config(const std::filesystem::path& model);

// The same from an open file.
ConfigObject gguf_model_config(const GgufFile& file);

struct GgufTensor {
  TensorInfo info;  // under its Hugging Face name; `begin` and `end` as in the file
  // llama.cpp stores the rows of Llama's Q and K so that rotary pairs are neighbours: in a head of this many rows, row
  // j * (rows / 2) + i of the Hugging Face tensor is row 2 i + j of the file. 0: in order.
  int64_t head_rows = 0;
};

// The tensors that make the model, in file order; rope_freqs.weight is not among them (gguf_model_config reads it).
std::vector<GgufTensor> gguf_model_tensors(const GgufFile& file);

}  // namespace octavo
