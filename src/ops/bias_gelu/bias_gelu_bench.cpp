#include "harness/bench_main.h"
#include "ops/bias_gelu/bias_gelu_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "bias_gelu", octavo::bias_gelu_cases());
}
