// octavo_verify: every case of every op on the GPU against the CPU reference; receipts. Exit code 1 when a case failed.
//   octavo_verify [--op NAME]... [--out DIR] [--keys FILE] [--repeats N] [--threads N] [--most-elements N] [--every N]
//                 [--match TEXT] [--verbose] [--exact] [--list] [--digests]
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <semaphore>
#include <thread>

#include "gpu/ops_table.h"
#include "gpu/receipt.h"
#include "gpu/reference_digests.h"

namespace {

using namespace octavo;
using namespace octavo::gpu;

struct Options {
  std::vector<std::string> ops;
  std::string out, keys;
  int64_t repeats = 100, most_elements = 4'000'000;
  int threads = 8, every = 1;
  std::string match;
  bool exact = false, list = false, digests = false, verbose = false;
};

// Cases side by side on CPU threads; four of them on the GPU, each on a stream of its own, or one where a tool watches.
std::vector<Verified> verify(const std::string& op, const std::vector<harness::OpCase>& cases,
                             const Options& options) {
  constexpr int kMostPrinted = 20;
  std::vector<Verified> verified(cases.size());
  std::counting_semaphore<4> gpu(options.exact || options.verbose ? 1 : 4);
  std::mutex printing;
  int failed = 0;
  std::atomic<size_t> next{0};
  const auto work = [&] {
    const cuda::Stream stream;
    for (size_t i; (i = next++) < cases.size();) {
      const auto& c = cases[i];
      Verified& v = verified[i];
      v.result.name = c.name;
      try {
        const auto before = harness::make_args(c);
        auto after = harness::make_args(c);
        const DeviceRun run = [&] {
          gpu.acquire();
          struct Turn {
            std::counting_semaphore<4>& gpu;
            ~Turn() { gpu.release(); }
          } turn{gpu};
          if (options.verbose) fmt::print("{}\n", c.name), std::fflush(stdout);
          return run_on_device(stream, c, before, std::move(after),
                               options.exact ? Placement::exact : Placement::canaried, options.repeats);
        }();
        v.repeats = run.repeats;
        v.result = harness::judge(c, before, run.after);
        if (run.differing_words && v.result.problem.empty())
          v.result.problem =
              fmt::format("{} repeats gave {} different 16-byte words", run.repeats, run.differing_words);
      } catch (const Error& e) {
        v.result.problem = e.what();
        if (e.kind() == ErrorKind::device_fault) next = cases.size();
      }
      if (v.result.problem.empty()) continue;
      const std::lock_guard lock(printing);  // at once: a run that is cut off has said what it found
      if (++failed > kMostPrinted) continue;
      fmt::print("  FAILED {} {} ({}): {}\n", op, c.name, c.why, v.result.problem), std::fflush(stdout);
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < options.threads; ++t) threads.emplace_back(work);
  for (auto& t : threads) t.join();
  return verified;
}

int64_t report(const std::string& op, const std::vector<harness::OpCase>& cases,
               const std::vector<Verified>& verified) {
  int64_t failed = 0;
  for (const Verified& v : verified)
    if (!v.result.problem.empty()) ++failed;
  fmt::print("{:<16} {:>5} cases, {:>3} failed\n", op, cases.size(), failed);
  std::fflush(stdout);
  return failed;
}

std::vector<harness::OpCase> chosen_cases(const OpEntry& op, const Options& options) {
  std::vector<harness::OpCase> cases;
  int64_t number = 0;
  for (auto& c : op.cases())
    if (c.name.find(options.match) != std::string::npos && most_elements_of(c) <= options.most_elements &&
        number++ % options.every == 0)
      cases.push_back(std::move(c));
  return cases;
}

int run(const Options& options) {
  const auto& ops = all_ops();
  for (const auto& name : options.ops)
    if (std::none_of(ops.begin(), ops.end(), [&](const auto& op) { return op.name == name; }))
      throw Error(ErrorKind::usage,
                  fmt::format("--op {}: no such op with CUDA kernels (--list names them)", name));
  nlohmann::json keys = nlohmann::json::object();
  if (!options.keys.empty()) keys = nlohmann::json::parse(std::ifstream(options.keys));

  int64_t failed = 0, total = 0;
  nlohmann::json digests = {
      {"harness", kHarnessVersion}, {"schema", kReceiptSchema}, {"ops", nlohmann::json::object()}};
  for (const auto& op : ops) {
    if (!options.ops.empty() &&
        std::find(options.ops.begin(), options.ops.end(), op.name) == options.ops.end())
      continue;
    const auto cases = chosen_cases(op, options);
    if (options.list) {
      fmt::print("{:<16} {:>5} cases, table {}\n", op.name, cases.size(), case_table_digest(cases));
      continue;
    }
    if (options.digests) {
      digests["ops"][op.name] = reference_digests(cases, kDigestElements);
      continue;
    }
    const auto verified = verify(op.name, cases, options);
    failed += report(op.name, cases, verified);
    total += static_cast<int64_t>(cases.size());
    if (!options.out.empty()) {
      std::filesystem::create_directories(options.out);
      std::ofstream(options.out + "/" + op.name + ".json")
          << make_receipt(op.name, cases, verified, keys).dump() << "\n";
    }
  }
  if (options.digests) fmt::print("{}\n", digests.dump());
  if (options.list || options.digests) return 0;
  if (total == 0) throw Error(ErrorKind::runtime, "no case was run: a verification of nothing is a failure");
  fmt::print("{} cases, {} failed\n", total, failed);
  return failed ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Every case of every CUDA op against the CPU reference");
  app.add_option("--op", options.ops, "only these ops");
  app.add_option("--out", options.out, "folder for receipts");
  app.add_option("--keys", options.keys, "keys of this build, by tools/receipts.py");
  app.add_option("--repeats", options.repeats, "calls compared bit for bit with the first");
  app.add_option("--threads", options.threads, "CPU threads that prepare and judge");
  app.add_option("--most-elements", options.most_elements, "leave out cases with a larger argument");
  app.add_option("--every", options.every, "only every Nth case")->check(CLI::PositiveNumber);
  app.add_flag("--exact", options.exact,
               "arguments in allocations of exactly their size, no repeats (for compute-sanitizer)");
  app.add_option("--match", options.match, "only cases whose name contains this");
  app.add_flag("--verbose", options.verbose, "each case's name before it runs");
  app.add_flag("--list", options.list, "the ops and the digests of their case tables; needs no GPU");
  app.add_flag("--digests", options.digests,
               "JSON: case tables and the CPU's digests of small exact cases; needs no GPU");
  CLI11_PARSE(app, argc, argv);
  try {
    return run(options);
  } catch (const octavo::Error& e) {
    fmt::print(stderr, "octavo_verify: {}\n", e.what());
    return static_cast<int>(e.kind());
  }
}
