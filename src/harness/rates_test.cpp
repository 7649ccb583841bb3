// Rates, timing and the report: plausible figures, and a file that says what was measured.
#include "harness/rates.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "harness/bench_report.h"
#include "harness/expect_error.h"

namespace octavo::harness {
namespace {

TEST(Rates, ReadAndCopyMoveMemory) {
  ThreadPool pool(2);
  const RateOptions small{.bytes = 1 << 24, .rounds = 2, .seconds = 1};
  for (const double gbs : {measure_read_gbs(pool, small), measure_copy_gbs(pool, small)}) {
    EXPECT_GT(gbs, 0.01);  // a floor that no machine misses, a roof that none reaches: units are right
    EXPECT_LT(gbs, 20000);
  }
  EXPECT_EQ(ReadRate(pool, 1000).bytes() % (1 << 17), 0);
}

TEST(Timing, InterleavesAndSorts) {
  std::string order;
  const auto timings =
      time_interleaved({[&] { order += 'a'; }, [&] { order += 'b'; }}, {.rounds = 3, .seconds_per_round = 0});
  EXPECT_EQ(order, "abababab");  // one warm-up of each, then three rounds
  ASSERT_EQ(timings.size(), 2u);
  EXPECT_EQ(timings[0].seconds.size(), 3u);
  EXPECT_LE(timings[0].seconds[0], timings[0].seconds[2]);
  const Timing known{.seconds = {1, 2, 4}};
  EXPECT_EQ(known.best(), 1);
  EXPECT_EQ(known.quantile(0.5), 2);
  EXPECT_EQ(known.quantile(0.75), 3);
  EXPECT_EQ(known.quantile(1), 4);
}

TEST(BenchReport, WritesRowsWithShareOfTheCeiling) {
  BenchReport report("an_op", 2);
  report.ceiling("read_gbs", 20);
  report.add({.name = "1x2",
              .shape = {{"M", 1}, {"N", 2}},
              .impl = "octavo",
              .variant = "avx2",
              .timing = {{0.5, 1.0}},
              .bytes = 5'000'000'000,
              .ops = 3'000'000'000,
              .more = {{"tokens_per_s", 12.5}}});
  const auto folder = std::filesystem::temp_directory_path() / ("octavo_report_" + std::to_string(getpid()));
  report.write(folder);
  std::ifstream file(folder / "an_op.json");
  const auto json = nlohmann::json::parse(file);
  std::filesystem::remove_all(folder);
  EXPECT_EQ(json.at("op"), "an_op");
  EXPECT_EQ(json.at("threads"), 2);
  EXPECT_EQ(json.at("ceilings").at("read_gbs"), 20);
  const auto& row = json.at("rows").at(0);
  EXPECT_EQ(row.at("shape").at("N"), 2);
  EXPECT_EQ(row.at("ms").at("best"), 500);
  EXPECT_EQ(row.at("gbs"), 10);
  EXPECT_EQ(row.at("gops"), 6);
  EXPECT_EQ(row.at("pct_ceiling"), 50);
  EXPECT_EQ(row.at("tokens_per_s"), 12.5);
}

TEST(BenchReport, SaysWhichFileCouldNotBeWritten) {
  const BenchReport report("an_op", 1);
  expect_error(ErrorKind::runtime, "/proc/none/an_op.json: could not be written",
               [&] { report.write("/proc/none"); });
}

}  // namespace
}  // namespace octavo::harness
