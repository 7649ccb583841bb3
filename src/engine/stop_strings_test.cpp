#include "engine/stop_strings.h"

#include <gtest/gtest.h>

#include "harness/random.h"

namespace octavo {
namespace {

// Feeds text in pieces of the given sizes and returns what was shown, the held-back rest included.
std::string shown(const std::string& text, std::vector<std::string> stops, size_t piece) {
  StopStrings s(std::move(stops));
  std::string out;
  for (size_t at = 0; at < text.size() && !s.stopped(); at += piece) out += s.push(text.substr(at, piece));
  return s.stopped() ? out : out + s.finish();
}

TEST(StopStrings, CutsBeforeTheFirstStopForAnyPieces) {
  for (size_t piece = 1; piece < 12; ++piece) {
    EXPECT_EQ(shown("hello END world", {"END"}, piece), "hello ");
    EXPECT_EQ(shown("aab aaab aaaab", {"aaaa"}, piece), "aab aaab ");
    EXPECT_EQ(shown("one two three", {"three", "two"}, piece), "one ");
    EXPECT_EQ(shown("no stop E EN", {"END"}, piece),
              "no stop E EN");  // the tail that looked like a stop is not lost
    EXPECT_EQ(shown("anything", {""}, piece), "anything");
  }
}

TEST(StopStrings, HoldsBackOnlyWhatCouldBecomeAStop) {
  StopStrings s({"</s>"});
  EXPECT_EQ(s.push("a<"), "a");
  EXPECT_EQ(s.push("b<"), "<b");
  EXPECT_EQ(s.push("/s"), "");
  EXPECT_EQ(s.push(">tail"), "");
  EXPECT_TRUE(s.stopped());
  EXPECT_EQ(s.push("more"), "");
  EXPECT_EQ(s.finish(), "");
}

TEST(StopStrings, AgreesWithFindOnRandomText) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    std::string text, stop;
    for (uint64_t i = 0; i < 40; ++i) text += "ab"[harness::random_bits(seed, i) % 2];
    for (uint64_t i = 0; i < 1 + seed % 6; ++i) stop += "ab"[harness::random_bits(seed + 7777, i) % 2];
    EXPECT_EQ(shown(text, {stop}, 1 + seed % 5), text.substr(0, text.find(stop))) << text << " / " << stop;
  }
}

}  // namespace
}  // namespace octavo
