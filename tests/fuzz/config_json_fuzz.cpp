// The input is config.json, and generation_config.json too.
#include <cmath>

#include "fuzz/rewritten_file.h"
#include "model/model_config.h"
#include "weights/quantization_config.h"

namespace octavo::fuzz {
namespace {

struct Folder {
  harness::TempFolder folder;
  RewrittenFile config{folder / "config.json"}, generation{folder / "generation_config.json"};
};

}  // namespace

bool config_json(std::string_view input) {
  static const Folder at;
  static const std::string path = at.folder.path().string();
  at.config.fill(input);
  at.generation.fill(input);
  const bool loaded = accepted({ErrorKind::bad_model}, [] {
    const ModelConfig config = ModelConfig::load(path);
    require(config.hidden > 0 && config.layers > 0 && config.vocab > 0, "a dimension that is not positive");
    require(config.parameters() > 0, "the number of parameters overflows");
  });
  accepted({ErrorKind::bad_model}, [] { GenerationDefaults::load(path); });
  accepted({ErrorKind::bad_model},
           [&] { read_quantization_config(ConfigObject::parse(input, "config.json")); });
  return loaded;
}

}  // namespace octavo::fuzz
