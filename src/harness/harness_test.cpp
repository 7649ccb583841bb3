// The harness can fail: a small op is written once right and many times wrong, and every wrong one is reported.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/quantizer.h"
#include "harness/expect_cases.h"
#include "harness/op_case.h"

namespace octavo::harness {
namespace {

enum class Fault {
  none,
  dropped_tail,        // the last columns past a multiple of 8 are not written
  tail_off_by_one,     // one column too few
  wrong_scale_index,   // the scale of the row before
  missing_mask,        // columns past `valid` keep their value
  writes_past_row,     // one element too many, into the padding
  writes_past_tensor,  // one element after the last row
  writes_before_tensor,
  changes_input,
  not_deterministic,  // the last bit depends on how often it was called
  truncates,          // codes are cut instead of rounded
  rounds_half_up,     // u is rounded half up: exact outputs only show it
  stale_output,       // a row is skipped and keeps what memory held
  swapped_rows,
  loses_nan,           // maximum() that ignores NaN
  loses_infinity,      // clamps to the largest finite number
  low_precision_sum,   // a sum kept in f16
  dropped_barrier,     // reads the row's maximum before it is there: the one of the row before
  wrong_scale_output,  // amax / 128 beside codes of amax / 127
  codes_of_nan_row,    // a NaN row's codes are not 0
};

template <class Real>
Real load(const Tensor& t, int64_t r, int64_t c) {
  return static_cast<Real>(
      get_element(t.dtype(), static_cast<uint8_t*>(t.data()) + (r * t.stride(0) + c) * size_of(t.dtype())));
}
void put(const Tensor& t, int64_t r, int64_t c, double value) {
  set_element(t.dtype(), static_cast<uint8_t*>(t.data()) + (r * t.stride(0) + c) * size_of(t.dtype()), value);
}

// Arguments of the op:  u = x * scale[row], 0 from column valid[row] on (one rounding: exact);  y = u / sqrt(mean(u^2) + 1);
// codes and code_scale: y quantised per row.
enum Arg { kX, kScale, kValid, kU, kY, kCodes, kCodeScale };

// The specification; values before rounding where y and codes are f64.
template <class Real>
void reference(CaseTensors t) {
  for (int64_t r = 0; r < t[kX].dim(0); ++r) {
    Real squares = 0;
    const int64_t width = t[kX].dim(1);
    for (int64_t c = 0; c < width; ++c) {
      const float u =
          c < load<int64_t>(t[kValid], r, 0) ? load<float>(t[kX], r, c) * load<float>(t[kScale], r, 0) : 0.0f;
      put(t[kU], r, c, u);
      const Real rounded = load<Real>(t[kU], r, c);
      squares += rounded * rounded;
    }
    const Real rms = std::sqrt(squares / static_cast<Real>(width) + Real(1));
    for (int64_t c = 0; c < width; ++c) {
      put(t[kY], r, c, load<Real>(t[kU], r, c) / rms);
      if (t[kCodes].dtype() == DType::f64) put(t[kCodes], r, c, load<Real>(t[kU], r, c) / rms);
    }
  }
}

int calls = 0;  // of not_deterministic

struct RowStatistics {
  float rms = 1, amax = 0;
};

void row_of_op(Fault fault, CaseTensors t, int64_t r, RowStatistics& before) {
  const int64_t width = t[kX].dim(1), rows = t[kX].dim(0);
  const int64_t end = fault == Fault::dropped_tail      ? width / 8 * 8
                      : fault == Fault::tail_off_by_one ? width - 1
                                                        : width;
  const int64_t valid = load<int64_t>(t[kValid], r, 0);
  const float scale = load<float>(t[kScale], fault == Fault::wrong_scale_index && r > 0 ? r - 1 : r, 0);
  const int64_t out = fault == Fault::swapped_rows && r < rows / 2 * 2 ? r ^ 1 : r;
  double squares = 0;
  for (int64_t c = 0; c < end; ++c) {
    float u = c < valid || fault == Fault::missing_mask ? load<float>(t[kX], r, c) * scale : 0.0f;
    if (fault == Fault::loses_nan && std::isnan(u)) u = 0;
    if (fault == Fault::loses_infinity) u = std::clamp(u, -65504.0f, 65504.0f);
    if (fault == Fault::rounds_half_up) u = std::nextafter(u, INFINITY);
    if (fault == Fault::not_deterministic && c == 0 && calls % 2) u = std::nextafter(u * 1.001f, INFINITY);
    put(t[kU], out, c, u);
    const double rounded = load<double>(t[kU], out, c);
    squares += rounded * rounded;
    if (fault == Fault::low_precision_sum) squares = round_to(DType::f16, squares);
  }
  RowStatistics row{.rms = static_cast<float>(std::sqrt(squares / static_cast<double>(width) + 1))};
  for (int64_t c = 0; c < end; ++c) {
    const float y = load<float>(t[kU], out, c) / row.rms;
    row.amax = std::isnan(y) || std::isnan(row.amax) ? NAN : std::max(row.amax, std::abs(y));
    put(t[kY], out, c, y);
  }
  const RowCoding coding = row_coding(fault == Fault::dropped_barrier ? before.amax : row.amax);
  put(t[kCodeScale], out, 0, fault == Fault::wrong_scale_output ? coding.scale * 127 / 128 : coding.scale);
  for (int64_t c = 0; c < end; ++c) {
    const float y = load<float>(t[kU], out, c) / row.rms;
    int code = quantize(y, coding.inverse);
    if (fault == Fault::truncates && std::isfinite(y)) code = static_cast<int>(y * coding.inverse);
    if (fault == Fault::codes_of_nan_row && std::isnan(row.amax)) code = 1;
    put(t[kCodes], out, c, code);
  }
  if (fault == Fault::writes_past_row) put(t[kY], r, width, 0);
  before = row;
}

void op(Fault fault, CaseTensors t) {
  const int64_t rows = t[kX].dim(0);
  RowStatistics before;
  for (int64_t r = 0; r < rows; ++r)
    if (fault != Fault::stale_output || r != rows / 2) row_of_op(fault, t, r, before);
  if (fault == Fault::writes_past_tensor) put(t[kU], rows, 0, 1);
  if (fault == Fault::writes_before_tensor) put(t[kU], 0, -1, 1);
  if (fault == Fault::changes_input) put(t[kX], 0, 0, load<double>(t[kX], 0, 0) + 1);
  ++calls;
}

// hard_rows has Inf in the last column, which the mask may hide.
void rows_with_infinity(HostTensor& t, uint64_t seed) {
  hard_rows()(t, seed);
  t.set(4 * t.width(), INFINITY);
}

OpCase case_of(Fault fault, DType dtype = DType::f16, bool hard = true) {
  constexpr int64_t kRows = 19, kWidth = 173;
  OpCase c{.name = "19x173", .why = "odd in both directions"};
  c.args = {input("x", dtype, {kRows, kWidth}, hard ? std::function(rows_with_infinity) : normal()),
            input("scale", DType::f32, {kRows, 1}, uniform(0.5, 1.5)),
            input("valid", DType::i32, {kRows, 1}, integers(kWidth / 2, kWidth + 1)),
            output("u", dtype, {kRows, kWidth}, Judge::exact),
            output("y", dtype, {kRows, kWidth}, Judge::floats),
            output("codes", DType::i8, {kRows, kWidth}, Judge::codes),
            output("code_scale", DType::f32, {kRows}, Judge::scale)};
  c.args[kY].pitch = kWidth + 3;
  c.args[kCodeScale].shape = {kRows, 1};
  c.call = [=](const Context&, CaseTensors t) { op(fault, t); };
  c.reference = reference<double>;
  c.plain = reference<float>;
  c.nan_declared = hard;
  return c;
}

std::string problem_of(const OpCase& c) { return run_case(Context{}, c).problem; }

TEST(Harness, TheRightOpPasses) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const bool hard : {false, true}) {
      const CaseResult result = run_case(Context{}, case_of(Fault::none, dtype, hard));
      EXPECT_EQ(result.problem, "") << name_of(dtype) << " hard " << hard;
      EXPECT_EQ(result.outputs.size(), 4u);
      EXPECT_GT(result.outputs[1].errors.compared, 0);
      EXPECT_EQ(result.outputs[0].digest.size(), 16u);
    }
}

struct Planted {
  Fault fault;
  const char* said;  // in the problem
};
class PlantedFaults : public testing::TestWithParam<Planted> {};

TEST_P(PlantedFaults, IsReported) {
  const std::string problem = problem_of(case_of(GetParam().fault));
  EXPECT_NE(problem.find(GetParam().said), std::string::npos) << "said: " << problem;
  EXPECT_FALSE(problem.empty());
}

INSTANTIATE_TEST_SUITE_P(
    All, PlantedFaults,
    testing::Values(
        Planted{Fault::dropped_tail, "u: element 168"}, Planted{Fault::tail_off_by_one, "u: element 172"},
        Planted{Fault::wrong_scale_index, "u: element"}, Planted{Fault::missing_mask, "u: element"},
        Planted{Fault::writes_past_row, "y: byte 346"}, Planted{Fault::writes_past_tensor, "u: byte 6574"},
        Planted{Fault::writes_before_tensor, "u: byte -2"},
        Planted{Fault::changes_input, "x: an input was changed"}, Planted{Fault::truncates, "codes: element"},
        Planted{Fault::rounds_half_up, "u: element"}, Planted{Fault::stale_output, "u: element 1557"},
        Planted{Fault::swapped_rows, "u: element"}, Planted{Fault::loses_nan, "u: element"},
        Planted{Fault::loses_infinity, "u: element"}, Planted{Fault::low_precision_sum, "y: "},
        Planted{Fault::dropped_barrier, "codes: row"}, Planted{Fault::wrong_scale_output, "codes: row"},
        Planted{Fault::codes_of_nan_row, "codes: element"}));

TEST(Harness, TwoRunsThatDifferAreReported) {
  OpCase c = case_of(Fault::not_deterministic, DType::f32, false);
  calls = 0;  // the first call is right, so only the comparison of the two can tell
  EXPECT_EQ(problem_of(c), "u: two runs of the same call differ");
}

TEST(Harness, EachJudgeSeesItsFaultAlone) {
  OpCase c = case_of(Fault::low_precision_sum);
  c.args[kU].judge = Judge::floats;  // u is right here: only y may complain
  EXPECT_EQ(problem_of(c).substr(0, 3), "y: ");
  c = case_of(Fault::loses_infinity, DType::f32);
  c.args[kU].judge = Judge::floats;
  EXPECT_NE(problem_of(c).find("where the reference has"), std::string::npos) << problem_of(c);
}

TEST(Harness, ZeroCasesFail) {
  EXPECT_NONFATAL_FAILURE(expect_cases(Context{}, {}), "no cases");
  static const std::vector<OpCase> wrong{case_of(Fault::missing_mask)};
  EXPECT_NONFATAL_FAILURE(expect_cases(Context{}, wrong), "19x173 (odd in both directions): u: element");
}

TEST(Harness, ReferenceOfNanFails) {
  OpCase c = case_of(Fault::none, DType::f32, false);
  c.args[kX].fill = constant(NAN);
  EXPECT_NE(problem_of(c).find("the reference is NaN at 0 and the case declares no NaN"), std::string::npos)
      << problem_of(c);
  c.nan_declared = true;
  EXPECT_EQ(problem_of(c), "");
}

TEST(Harness, ReferenceThatWritesNothingFails) {
  OpCase c = case_of(Fault::none, DType::f32, false);
  c.reference = [](CaseTensors) {};
  EXPECT_NE(problem_of(c), "");
}

TEST(Harness, FloatsWithoutPlainVersionFail) {
  OpCase c = case_of(Fault::none);
  c.plain = nullptr;
  EXPECT_NE(problem_of(c).find("no plain version"), std::string::npos);
}

TEST(FloatRule, EveryLimitFailsAlone) {
  const std::vector<double> r{1, 2, 3, 4}, p{1, 2, 3, 4 + 1e-6};
  const auto with = [&](std::vector<double> y, FloatRule rule = {}) {
    return check_float_rule(y, r, p, rule);
  };
  EXPECT_EQ(with(r), "");
  EXPECT_NE(with({1, 2, 3, 4 + 1e-4}).find("> 2 *"), std::string::npos);
  EXPECT_NE(with({1 + 1.5e-6, 2 + 1.5e-6, 3 + 1.5e-6, 4 + 1.5e-6}).find("mean error"), std::string::npos);
  EXPECT_NE(with({1, 2, 3, 4 + 1e-7}, {.nmse_cap = 1e-17}).find("NMSE"), std::string::npos);
  EXPECT_NE(with({1, 2, 3, NAN}).find("where the reference has"), std::string::npos);
  EXPECT_NE(check_float_rule({}, {}, {}, {}).find("nothing was compared"), std::string::npos);
  EXPECT_NE(with({1, 2, 3}).find("sizes differ"), std::string::npos);
}

TEST(HostTensor, DamageIsFoundAnywhere) {
  for (const int64_t at :
       {int64_t{-4096}, int64_t{-1}, int64_t{20}, int64_t{31}, int64_t{64}}) {  // rows of 5 f32 each 8 apart
    HostTensor t(DType::f32, {2, 5}, 8);
    t.fill(1.0);
    EXPECT_EQ(t.damage(), "");
    reinterpret_cast<uint8_t*>(t.as<float>())[at] = 1;
    EXPECT_NE(t.damage(), "") << at;
  }
}

TEST(Digest, OneBitChangesIt) {
  HostTensor a(DType::f32, {3, 7}), b(DType::f32, {3, 7}, 9, 1);
  a.fill_normal(1), b.fill_normal(1);
  EXPECT_EQ(digest_of(a), digest_of(b));  // pitch and place are not content
  b.set(20, b.get(20) * (1 + 0x1p-23));
  EXPECT_NE(digest_of(a), digest_of(b));
  a.set(0, NAN), b.fill_normal(1).set(0, -NAN);
  EXPECT_EQ(digest_of(a), digest_of(b));  // NaN is NaN
}

}  // namespace
}  // namespace octavo::harness
