#include "harness/bench_main.h"
#include "ops/sample/sample_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "sample", octavo::sample_cases());
}
