// The bench program of an op: every case marked perf, with inputs that are cold as a model's are, beside its peers and
// the machine's read rate, to stdout and to bench/results/cpu/<op>.json.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "harness/op_case.h"

namespace octavo::harness {

// Somebody else's way to do a case, run in turn with ours on the same data.
struct Peer {
  std::string impl, variant;  // "onednn", "s8s8 packed"
  std::function<void()> call;
};
// `sets` are the rotated arguments, by case argument; a peer owns what else it needs and has been checked once.
using MakePeers = std::function<std::vector<Peer>(const OpCase&, const Context&,
                                                  const std::vector<std::vector<Tensor>>& sets)>;

// main() of a bench; returns the exit code. Options: -t, --isa, --filter, --rounds, --seconds, --out.
int bench_main(int argc, char** argv, const std::string& op, const std::vector<OpCase>& cases,
               const MakePeers& peers = {});

}  // namespace octavo::harness
