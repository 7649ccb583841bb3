#include "harness/bench_main.h"
#include "ops/quantize_rows/quantize_rows_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "quantize_rows", octavo::quantize_rows_cases());
}
