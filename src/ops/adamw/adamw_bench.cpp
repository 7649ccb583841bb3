#include "harness/bench_main.h"
#include "ops/adamw/adamw_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "adamw", octavo::adamw_cases());
}
