#include "harness/bench_main.h"
#include "ops/rope/rope_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "rope", octavo::rope_cases());
}
