#include "harness/bench_main.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>

#include "core/thread_pool.h"
#include "harness/bench_report.h"
#include "harness/rates.h"

namespace octavo::harness {
namespace {

constexpr int64_t kColdBytes = int64_t{1} << 30;  // rotated through where memory is the limit
constexpr int64_t kOpsPerByteOfCompute = 64;      // above this a case is bound by arithmetic

// Several copies of a case's arguments, so that no call finds its inputs in a cache.
class RotatedArgs {
 public:
  RotatedArgs(const OpCase& c, int64_t least_bytes) {
    const int64_t copies = std::max(int64_t{1}, (least_bytes + c.bytes - 1) / std::max(c.bytes, int64_t{1}));
    for (int64_t i = 0; i < copies; ++i) {
      if (i == 0) {
        tensors_.push_back(make_args(c));
      } else {
        auto& copy = tensors_.emplace_back();
        for (size_t a = 0; a < c.args.size(); ++a) copy.push_back(copy_of(c.args[a], tensors_[0][a]));
      }
      auto& views = views_.emplace_back();
      for (const HostTensor& t : tensors_.back()) views.push_back(t.view());
    }
  }
  const std::vector<std::vector<Tensor>>& sets() const { return views_; }

 private:
  static HostTensor copy_of(const CaseArg& arg, const HostTensor& t) {
    HostTensor copy(arg.dtype, arg.shape, arg.pitch, arg.misalign);
    const int64_t rows = t.width() > 0 ? t.numel() / t.width() : 0, pitch = arg.pitch ? arg.pitch : t.width();
    std::memcpy(copy.as<uint8_t>(), t.as<uint8_t>(), static_cast<size_t>(rows * pitch * size_of(arg.dtype)));
    return copy;
  }
  std::vector<std::vector<HostTensor>> tensors_;
  std::vector<std::vector<Tensor>> views_;
};

struct Options {
  int threads = cpu_facts().cores;
  std::string isa = "auto", filter, out = "bench/results/cpu";
  TimingOptions timing;
};

void bench_case(const OpCase& c, const Context& ctx, const Options& options, const MakePeers& make_peers,
                ReadRate& read, BenchReport& report) {
  const bool compute_bound = c.ops > kOpsPerByteOfCompute * c.bytes;
  const RotatedArgs args(c, compute_bound ? 4 * cpu_facts().last_level_cache_bytes : kColdBytes);
  size_t turn = 0;
  const auto ours = [&] { c.call(ctx, args.sets()[turn++ % args.sets().size()]); };
  std::vector<Peer> peers = make_peers ? make_peers(c, ctx, args.sets()) : std::vector<Peer>{};

  std::vector<std::function<void()>> subjects{ours, [&] { read.read_once(); }};
  for (const Peer& peer : peers) subjects.push_back(peer.call);
  const std::vector<Timing> timings = time_interleaved(subjects, options.timing);

  const auto row = [&](const std::string& impl, const std::string& variant, const Timing& timing) {
    const double read_gbs = static_cast<double>(read.bytes()) / timings[1].best() * 1e-9;
    return BenchRow{.name = c.name,
                    .shape = c.shape,
                    .impl = impl,
                    .variant = variant,
                    .timing = timing,
                    .bytes = c.bytes,
                    .ops = c.ops,
                    .more = {{"read_gbs_beside", read_gbs},
                             {"pct_read_beside",
                              100.0 * static_cast<double>(c.bytes) / timing.best() * 1e-9 / read_gbs}}};
  };
  report.add(row("octavo", c.variant ? c.variant(ctx, args.sets()[0]) : options.isa, timings[0]));
  for (size_t i = 0; i < peers.size(); ++i) report.add(row(peers[i].impl, peers[i].variant, timings[2 + i]));
}

void run(const Options& options, const std::string& op, const std::vector<OpCase>& cases,
         const MakePeers& peers) {
  ThreadPool pool(options.threads);
  Context ctx;
  ctx.isa = parse_isa(options.isa);
  ctx.pool = &pool;
  BenchReport report(op, options.threads);
  report.ceiling("copy_gbs", measure_copy_gbs(pool));
  report.ceiling("read_gbs", measure_read_gbs(pool));
  ReadRate read(pool, std::max(int64_t{1} << 28, 4 * cpu_facts().last_level_cache_bytes));
  bool any = false;
  for (const OpCase& c : cases)
    if (c.perf && c.name.find(options.filter) != std::string::npos) {
      any = true;
      bench_case(c, ctx, options, peers, read, report);
    }
  if (!any)
    throw Error(ErrorKind::usage,
                fmt::format("--filter {}: no case of {} marked perf has it in its name", options.filter, op));
  if (!options.out.empty()) report.write(options.out);
}

}  // namespace

int bench_main(int argc, char** argv, const std::string& op, const std::vector<OpCase>& cases,
               const MakePeers& peers) {
  Options options;
  CLI::App app("bench of " + op);
  app.add_option("-t,--threads", options.threads, "threads")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--isa", options.isa, "auto, reference, avx2, avx512")->capture_default_str();
  app.add_option("--filter", options.filter, "only cases whose name contains this");
  app.add_option("--rounds", options.timing.rounds, "interleaved rounds; the best counts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seconds", options.timing.seconds_per_round, "of one round of one subject")
      ->capture_default_str();
  app.add_option("--out", options.out, "folder of <op>.json; empty: no file")->capture_default_str();
  try {
    app.parse(argc, argv);
    run(options, op, cases, peers);
    return 0;
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : static_cast<int>(ErrorKind::usage);
  } catch (const Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return static_cast<int>(e.kind());
  }
}

}  // namespace octavo::harness
