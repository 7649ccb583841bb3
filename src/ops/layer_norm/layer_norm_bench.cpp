#include "harness/bench_main.h"
#include "ops/layer_norm/layer_norm_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "layer_norm", octavo::layer_norm_cases());
}
