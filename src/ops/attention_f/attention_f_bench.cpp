#include "harness/bench_main.h"
#include "ops/attention_f/attention_f_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "attention_f", octavo::attention_f_cases());
}
