#include "harness/bench_report.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/context.h"
#include "core/error.h"

namespace octavo::harness {
namespace {

using Json = nlohmann::ordered_json;

// The first line that a git command prints; empty without git. On a machine that has the programs and no repository,
// OCTAVO_COMMIT says what they were built from.
std::string git(const std::string& arguments) {
  if (const char* commit = std::getenv("OCTAVO_COMMIT"))
    return arguments.find(':') == std::string::npos ? commit : "";
  FILE* pipe = popen(("git " + arguments + " 2>/dev/null").c_str(), "r");
  if (!pipe) return {};
  std::array<char, 128> line{};
  const bool read = std::fgets(line.data(), line.size(), pipe) != nullptr;
  pclose(pipe);
  std::string text = read ? line.data() : "";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string now() {
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&t, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec);
}

// Four significant digits: more would be noise.
double rounded(double x) { return std::stod(fmt::format("{:.4g}", x)); }

double per_second(int64_t amount, const BenchRow& row) {
  return static_cast<double>(amount) / row.timing.best() * 1e-9;
}

}  // namespace

double BenchReport::ceiling_of(const std::string& name) const {
  for (const auto& [n, value] : ceilings_)
    if (n == name) return value;
  return 0;
}

void BenchReport::add(BenchRow row) {
  if (rows_.empty())
    fmt::print("{:<28} {:<9} {:<12} {:>10} {:>9} {:>8} {:>9}\n", "case", "impl", "variant", "best ms", "GB/s",
               "of read", "GOP/s");
  const double gbs = per_second(row.bytes, row), read = ceiling_of("read_gbs");
  fmt::print("{:<28} {:<9} {:<12} {:>10.4f} {:>9.2f} {:>7.1f}% {:>9.1f}\n", row.name, row.impl, row.variant,
             row.timing.best() * 1e3, gbs, read > 0 ? 100 * gbs / read : 0, per_second(row.ops, row));
  std::fflush(stdout);
  rows_.push_back(std::move(row));
}

std::string BenchReport::json() const {
  Json rows = Json::array();
  const double read = ceiling_of("read_gbs");
  for (const BenchRow& row : rows_) {
    Json shape = Json::object();
    for (const auto& [name, value] : row.shape) shape[name] = value;
    const auto ms = [&](double q) { return rounded(row.timing.quantile(q) * 1e3); };
    const double gbs = per_second(row.bytes, row);
    Json r{{"case", row.name},
           {"shape", shape},
           {"impl", row.impl},
           {"variant", row.variant},
           {"ms", {{"best", ms(0)}, {"p20", ms(0.2)}, {"p50", ms(0.5)}, {"p80", ms(0.8)}}}};
    if (row.ops > 0) r["gops"] = rounded(per_second(row.ops, row));
    if (row.bytes > 0) r["gbs"] = rounded(gbs);
    if (row.bytes > 0 && read > 0) r["pct_ceiling"] = rounded(100 * gbs / read);
    for (const auto& [name, value] : row.more) r[name] = rounded(value);
    rows.push_back(std::move(r));
  }
  Json ceilings = Json::object();
  for (const auto& [name, value] : ceilings_) ceilings[name] = rounded(value);
  const Json file{{"schema", 1},
                  {"op", op_},
                  {"cpu", cpu_facts().name},
                  {"cores", cpu_facts().cores},
                  {"threads", threads_},
                  {"isa", name_of(best_isa())},
                  {"commit", git("rev-parse --short=12 HEAD")},
                  {"source_hash",
                   git("rev-parse --short=12 HEAD:src" + (op_ == "model" ? std::string() : "/ops/" + op_))},
                  {"date", now()},
                  {"ceilings", ceilings},
                  {"rows", rows}};
  return file.dump(1) + "\n";
}

void BenchReport::write(const std::string& folder) const {
  const std::string path = folder + "/" + op_ + ".json";
  std::error_code ignored;  // the write below reports what is wrong
  std::filesystem::create_directories(folder, ignored);
  std::ofstream file(path);
  file << json();
  file.close();
  if (!file) throw Error(ErrorKind::runtime, fmt::format("{}: could not be written", path));
}

}  // namespace octavo::harness
