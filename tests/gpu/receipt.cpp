#include "gpu/receipt.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <map>

#include "gpu/reference_digests.h"
#include "harness/random.h"

namespace octavo::gpu {
namespace {

using nlohmann::json;

// Three digits are enough to re-apply a rule whose constants are 2 and 1.25; rounded up for y, down for p and a would be
// safer still, but then a receipt could fail what the run passed.
double short_number(double x) { return std::stod(fmt::format("{:.5g}", x)); }

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

}  // namespace

std::string case_table_digest(const std::vector<harness::OpCase>& cases) {
  std::string text;
  for (const auto& c : cases) {
    text += c.name;
    for (const auto& a : c.args) {
      text += fmt::format("|{} {} {} {} {} {}{}", a.name, name_of(a.dtype), static_cast<int>(a.judge),
                          a.pitch, a.misalign, a.output ? "o" : "", a.fill ? "i" : "");
      for (int64_t n : a.shape) text += fmt::format(" {}", n);
    }
    text += '\n';
  }
  return fmt::format("{:016x}", harness::seed_of(text));
}

json make_receipt(const std::string& op, const std::vector<harness::OpCase>& cases,
                  const std::vector<Verified>& verified, const json& keys) {
  cudaDeviceProp properties{};
  int driver = 0, runtime = 0;
  cuda::expect_success(cudaGetDeviceProperties(&properties, cuda::current_device()),
                       "asking for the GPU's name");
  cuda::expect_success(cudaDriverGetVersion(&driver), "asking for the driver's version");
  cuda::expect_success(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");

  json floats = json::array(), codes = json::array(), exact = json::array();
  std::map<std::string, int64_t> counts{{"cases", 0}, {"failed", 0}, {"outputs", 0}};
  int64_t fewest_repeats = verified.empty() ? 0 : verified[0].repeats;
  for (size_t i = 0; i < verified.size(); ++i) {
    const auto& v = verified[i];
    ++counts["cases"], counts["failed"] += v.result.problem.empty() ? 0 : 1;
    fewest_repeats = std::min(fewest_repeats, v.repeats);
    for (const auto& out : v.result.outputs) {
      ++counts["outputs"];
      const auto arg = std::find_if(cases[i].args.begin(), cases[i].args.end(),
                                    [&](const auto& a) { return a.name == out.name; });
      if (arg->judge == harness::Judge::floats)
        floats.push_back({v.result.name, out.name, name_of(arg->dtype), short_number(out.errors.max_error),
                          short_number(out.errors.mean_error), short_number(out.errors.nmse),
                          short_number(out.plain.max_error), short_number(out.plain.mean_error),
                          short_number(out.slack), arg->nmse_cap});
      else if (arg->judge == harness::Judge::codes)
        codes.push_back({v.result.name, out.name, short_number(out.errors.max_error)});
      else if (arg->judge == harness::Judge::exact && most_elements_of(cases[i]) <= kDigestElements)
        exact.push_back({v.result.name, out.name, out.digest});
    }
  }
  return {{"schema", kReceiptSchema},
          {"op", op},
          {"gpu", properties.name},
          {"compute_capability", properties.major * 10 + properties.minor},
          {"driver", version_text(driver)},
          {"cuda", version_text(runtime)},
          {"key",
           {{"sass", keys.contains(op) ? keys.at(op) : json(nullptr)},
            {"cases", case_table_digest(cases)},
            {"harness", kHarnessVersion}}},
          {"counts", counts},
          {"repeats", fewest_repeats},
          {"columns",
           {{"floats",
             {"case", "output", "dtype", "max_y", "mean_y", "nmse_y", "max_p", "mean_p", "a", "nmse_cap"}},
            {"codes", {"case", "output", "max_steps"}},
            {"exact", {"case", "output", "fnv1a64"}}}},
          {"floats", floats},
          {"codes", codes},
          {"exact", exact}};
}

}  // namespace octavo::gpu
