// The numerics contract of design 3 as functions: y is ours, r the fp64 reference, p the plain low-precision version.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "harness/host_tensor.h"

namespace octavo::harness {

struct ErrorStats {
  double max_error = 0;   // max|y - r|
  double mean_error = 0;  // mean|y - r|
  double nmse = 0;        // sum (y-r)^2 / sum r^2
  int64_t compared = 0;
  int64_t worst = -1;         // index of max_error
  bool nan_mismatch = false;  // NaN or Inf on one side only, or Inf of the other sign
};
ErrorStats error_stats(const std::vector<double>& y, const std::vector<double>& r);
std::vector<double> values(const HostTensor& t);

// a of the rule below: twice the largest error of storing r through an addition in `out`, and relative_slack * max|r|.
double rounding_slack(const std::vector<double>& r, DType out, double relative_slack = 0);

// max|y-r| <= 2 max|p-r| + a, mean|y-r| <= 1.25 mean|p-r| + a/8, a = 2 max|((r+0.3)-0.3) - r| in out's dtype, and NMSE
// below the cap. Returns an empty string when all hold; otherwise the numbers. Zero elements, or a NaN in r where none
// was declared, is a failure of the test itself and is said so.
struct FloatRule {
  DType out = DType::f32;
  double nmse_cap = 1e-6;
  bool nan_declared = false;
  double relative_slack = 0;  // times max|r| is added to a, for a reason on the op's page
};
std::string check_float_rule(const std::vector<double>& y, const std::vector<double>& r,
                             const std::vector<double>& p, const FloatRule& rule);

// Bitwise equality of the logical elements; NaN equals NaN for float dtypes. Empty, or index and both values.
std::string check_bitwise(const HostTensor& got, const HostTensor& want);

}  // namespace octavo::harness
