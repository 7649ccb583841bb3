#include "harness/bench_main.h"
#include "ops/kv_append/kv_append_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "kv_append", octavo::kv_append_cases());
}
