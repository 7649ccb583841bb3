// GoogleTest glue: a fixture that runs once per instruction set; one that this CPU lacks is skipped by name.
#pragma once
#include <gtest/gtest.h>

#include "core/context.h"
#include "core/thread_pool.h"

namespace octavo::harness {

class IsaTest : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!cpu_has(GetParam())) GTEST_SKIP() << "this CPU lacks " << name_of(GetParam());
    ctx.isa = GetParam();
    ctx.pool = &pool;
  }
  ThreadPool pool{2};
  Context ctx;
};

inline std::string isa_test_name(const ::testing::TestParamInfo<Isa>& info) { return name_of(info.param); }

}  // namespace octavo::harness

// After the fixture `class X : public octavo::harness::IsaTest {}`:  OCTAVO_EVERY_ISA(X);
#define OCTAVO_EVERY_ISA(Fixture)                                               \
  INSTANTIATE_TEST_SUITE_P(Isa, Fixture, ::testing::ValuesIn(octavo::kAllIsas), \
                           octavo::harness::isa_test_name)
