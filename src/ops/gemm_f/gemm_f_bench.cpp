#include "harness/bench_main.h"
#include "ops/gemm_f/gemm_f_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "gemm_f", octavo::gemm_f_cases());
}
