#include "harness/bench_main.h"
#include "ops/rms_norm/rms_norm_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "rms_norm", octavo::rms_norm_cases());
}
