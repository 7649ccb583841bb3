// Conversions, quantiser, parallel_for.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "core/quantizer.h"
#include "core/thread_pool.h"

namespace octavo {
namespace {

TEST(DType, EveryF16BitPatternSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float wide = to_float(F16{static_cast<uint16_t>(bits)});
    const uint16_t back = to_f16(wide).bits;
    if (std::isnan(wide))
      EXPECT_GT(back & 0x7fff, 0x7c00) << bits;
    else
      EXPECT_EQ(back, bits);
  }
}

TEST(DType, F16RoundsToNearestEven) {
  EXPECT_EQ(to_f16(65519.0f).bits, 0x7bff);  // just under the tie to Inf
  EXPECT_EQ(to_f16(65520.0f).bits, 0x7c00);
  EXPECT_EQ(to_f16(1.0f + 0x1p-11f).bits, 0x3c00);      // tie, to even
  EXPECT_EQ(to_f16(1.0f + 3 * 0x1p-11f).bits, 0x3c02);  // tie, to even
  EXPECT_EQ(to_f16(0x1p-25f).bits, 0);                  // tie with zero
  EXPECT_EQ(to_f16(0x1.000002p-25f).bits, 1);
}

TEST(DType, BF16RoundsToNearestEvenAndKeepsNaN) {
  EXPECT_EQ(to_bf16(1.0f + 0x1p-8f).bits, 0x3f80);
  EXPECT_EQ(to_bf16(1.0f + 3 * 0x1p-8f).bits, 0x3f82);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(Quantizer, RowsOfTheContract) {
  EXPECT_EQ(row_coding(0.0f).scale, 1.0f);
  EXPECT_EQ(row_coding(0x1p-121f).inverse, 0.0f);
  EXPECT_EQ(row_coding(0x1p-120f).scale, 0x1p-120f / 127.0f);
  EXPECT_TRUE(std::isnan(row_coding(INFINITY).scale));
  EXPECT_TRUE(std::isnan(row_coding(NAN).scale));
  EXPECT_EQ(quantize(NAN, 0.0f), 0);
  for (float amax : {1.0f, 3.3f, 65504.0f, 1e-30f, 3e38f}) {
    const RowCoding c = row_coding(amax);
    EXPECT_EQ(quantize(amax, c.inverse), 127);
    EXPECT_EQ(quantize(-amax, c.inverse), -127);
    EXPECT_EQ(quantize(0.0f, c.inverse), 0);
  }
  EXPECT_EQ(quantize(2.5f, 1.0f), 2);  // half to even
  EXPECT_EQ(quantize(3.5f, 1.0f), 4);
  EXPECT_EQ(quantize(-2.5f, 1.0f), -2);
  EXPECT_EQ(quantize(1000.0f, 1.0f), 127);
}

TEST(ThreadPool, EveryIndexExactlyOnceForAnyNumberOfThreads) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (int64_t n : {0, 1, 2, 17, 1000}) {
      for (int repeat = 0; repeat < 50; ++repeat) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
        parallel_for(&pool, n, 3, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        });
        for (auto& h : hits) ASSERT_EQ(h, 1);
      }
    }
  }
}

}  // namespace
}  // namespace octavo
