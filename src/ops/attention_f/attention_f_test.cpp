#include "ops/attention_f/attention_f_cases.h"

#include "harness/expect_cases.h"
#include "harness/isa_test.h"

namespace octavo {
namespace {

using harness::HostTensor;

class AttentionF : public harness::IsaTest {};
OCTAVO_EVERY_ISA(AttentionF);

TEST_P(AttentionF, MatchesTheSpecification) {
  auto cases = attention_f_cases();
  std::erase_if(cases, [](const harness::OpCase& c) { return c.perf; });
  harness::expect_cases(ctx, cases);
}

}  // namespace
}  // namespace octavo
