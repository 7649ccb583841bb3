#include "harness/bench_main.h"
#include "ops/silu_mul/silu_mul_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "silu_mul", octavo::silu_mul_cases());
}
