// Every recorded input of the fuzz targets, in the ordinary build: what was found once stays fixed.
#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "fuzz/targets.h"
#include "harness/temp_folder.h"

namespace octavo::fuzz {
namespace {

namespace fs = std::filesystem;
const fs::path kCorpus = fs::path(OCTAVO_SOURCE_DIR) / "tests/fuzz/corpus";

double thread_seconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

class FuzzCorpus : public testing::TestWithParam<Target> {};

TEST_P(FuzzCorpus, EveryInputIsAnswered) {
  const Target& target = GetParam();
  int inputs = 0, taken = 0;
  uintmax_t bytes = 0;
  ASSERT_TRUE(fs::is_directory(kCorpus / target.name));
  for (const auto& file : fs::directory_iterator(kCorpus / target.name)) {
    const std::string input = harness::content_of(file.path());
    const double start = thread_seconds();
    EXPECT_NO_THROW(taken += target.run(input)) << file.path();
    EXPECT_LT(thread_seconds() - start, 1.0) << file.path();
    ++inputs, bytes += input.size();
  }
  EXPECT_NO_THROW(target.run("")) << "no bytes at all";
  // A corpus that is refused as a whole would show nothing beyond the first check.
  EXPECT_GE(taken, 3) << "of " << inputs;
  EXPECT_GE(inputs - taken, 3) << "of " << inputs;
  EXPECT_LT(bytes, 128u << 10) << "corpora in git are small: ./dev fuzz NAME SECONDS --minimize";
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzCorpus, testing::ValuesIn(kTargets),
                         [](const auto& target) { return std::string(target.param.name); });

TEST(FuzzCorpus, HasAFolderForEachTargetAndNoOther) {
  std::set<std::string> folders, names;
  for (const auto& entry : fs::directory_iterator(kCorpus)) folders.insert(entry.path().filename());
  for (const Target& target : kTargets) names.insert(target.name);
  EXPECT_EQ(folders, names);
}

TEST(FuzzTargets, AFindingIsThrown) {
  EXPECT_THROW(require(false, "planted"), std::logic_error);
  EXPECT_THROW(accepted({ErrorKind::bad_model}, [] { throw Error(ErrorKind::runtime, "planted"); }), Error);
  EXPECT_THROW(accepted({ErrorKind::bad_model}, [] { throw std::bad_alloc(); }), std::bad_alloc);
  EXPECT_THROW(accepted({ErrorKind::bad_model}, [] { throw Error(ErrorKind::bad_model, ""); }),
               std::logic_error);
  EXPECT_FALSE(accepted({ErrorKind::bad_model}, [] { throw Error(ErrorKind::bad_model, "told"); }));
}

}  // namespace
}  // namespace octavo::fuzz
