// octavo plan: the bytes table, from config.json alone, by the functions that will allocate.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "command.h"
#include "model_options.h"
#include "terminal.h"

namespace octavo::app {
namespace {

struct Options {
  ModelOptions model;
  bool json = false;
};

int run(const Options& o) {
  const ModelConfig config = ModelConfig::load(o.model.folder());
  const EngineOptions options = o.model.engine_options();
  const int64_t context = Engine::choose_context(config, options);
  const MemoryPlan plan = Engine::plan(config, options);
  if (o.json) {
    nlohmann::ordered_json j;
    j["context"] = context;
    for (const auto& row : plan.rows) j["rows"].push_back({{"what", row.what}, {"bytes", row.bytes}});
    j["total_bytes"] = plan.total();
    write_stdout(j.dump(2) + "\n");
    return 0;
  }
  fmt::print("{}: {} parameters, --quantization {}, context {} of at most {}\n\n", config.architecture,
             config.parameters(), name_of(options.quantization), context, config.max_positions);
  for (const auto& row : plan.rows)
    if (row.bytes > 0) fmt::print("  {:<44}{:>18} {:>10}\n", row.what, row.bytes, human_bytes(row.bytes));
  fmt::print("  {:<44}{:>18} {:>10}\n", "total", plan.total(), human_bytes(plan.total()));
  if (options.memory_budget > 0)
    fmt::print("\nfits --memory-budget {}: {} are left\n", human_bytes(options.memory_budget),
               human_bytes(options.memory_budget - plan.total()));
  return 0;
}

}  // namespace

std::function<int()> setup_plan(Arguments& app) {
  auto o = std::make_shared<Options>();
  add_model_options(app, o->model);
  app.add_flag("--json", o->json, "machine-readable");
  return [o] { return run(*o); };
}

}  // namespace octavo::app
