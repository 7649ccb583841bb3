// What a bench prints and stores: rows of measured figures beside the ceilings of the same run, as
// bench/results/<device>/<op>.json (design 7).
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "harness/timing.h"

namespace octavo::harness {

struct BenchRow {
  std::string name;                                    // "1x4096x4096"
  std::vector<std::pair<std::string, int64_t>> shape;  // {"M", 1}, ...
  std::string impl = "octavo";                         // or a peer: "onednn"
  std::string variant;                                 // "avx2"
  Timing timing;
  int64_t bytes = 0;  // the fewest that a call must move
  int64_t ops = 0;
  std::vector<std::pair<std::string, double>> more;  // further figures: {"tokens_per_s", 31.2}
};

class BenchReport {
 public:
  BenchReport(std::string op, int threads) : op_(std::move(op)), threads_(threads) {}

  void ceiling(const std::string& name, double value) { ceilings_.emplace_back(name, value); }  // "read_gbs"
  void add(BenchRow row);    // and prints it
  std::string json() const;  // the whole file
  // Writes json() to <folder>/<op>.json, folders included; throws runtime where that fails.
  void write(const std::string& folder) const;

 private:
  double ceiling_of(const std::string& name) const;  // 0 where it was not measured
  std::string op_;
  int threads_;
  std::vector<std::pair<std::string, double>> ceilings_;
  std::vector<BenchRow> rows_;
};

}  // namespace octavo::harness
