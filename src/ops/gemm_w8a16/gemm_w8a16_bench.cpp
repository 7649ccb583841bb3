#include "harness/bench_main.h"
#include "ops/gemm_w8a16/gemm_w8a16_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "gemm_w8a16", octavo::gemm_w8a16_cases());
}
