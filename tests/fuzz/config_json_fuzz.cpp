// The input is config.json, and generation_config.json too.
#include "formats/json_file.h"
#include "fuzz/targets.h"
#include "model/model_config.h"
#include "weights/quantization_config.h"

namespace octavo::fuzz {

bool config_json(std::string_view input) {
  bool loaded = false;
  accepted({ErrorKind::bad_model}, [&] {
    const ConfigObject object = ConfigObject::parse(input, "config.json");
    loaded = accepted({ErrorKind::bad_model}, [&] {
      const ModelConfig config = ModelConfig::of(object);
      require(config.hidden > 0 && config.layers > 0 && config.vocab > 0, "a dimension that is not positive");
      require(config.parameters() > 0, "the number of parameters overflows");
    });
    accepted({ErrorKind::bad_model}, [&] { GenerationDefaults::of(object); });
    accepted({ErrorKind::bad_model}, [&] { read_quantization_config(object); });
  });
  return loaded;
}

}  // namespace octavo::fuzz
