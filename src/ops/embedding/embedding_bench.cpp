#include "harness/bench_main.h"
#include "ops/embedding/embedding_cases.h"

int main(int argc, char** argv) {
  return octavo::harness::bench_main(argc, argv, "embedding", octavo::embedding_cases());
}
