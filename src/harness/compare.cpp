#include "harness/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace octavo::harness {

ErrorStats error_stats(const std::vector<double>& y, const std::vector<double>& r) {
  ErrorStats s;
  double sum = 0, square = 0, norm = 0;
  for (size_t i = 0; i < r.size() && i < y.size(); ++i) {
    if (!std::isfinite(r[i]) || !std::isfinite(y[i])) {
      const bool same = (std::isnan(r[i]) && std::isnan(y[i])) || r[i] == y[i];
      if (!same) s.nan_mismatch = true, s.worst = static_cast<int64_t>(i);
      continue;
    }
    const double e = std::abs(y[i] - r[i]);
    if (e > s.max_error) {
      s.max_error = e;
      if (!s.nan_mismatch) s.worst = static_cast<int64_t>(i);
    }
    sum += e, square += e * e, norm += r[i] * r[i];
    ++s.compared;
  }
  s.mean_error = s.compared ? sum / static_cast<double>(s.compared) : 0;
  s.nmse = norm > 0 ? square / norm : square > 0 ? INFINITY : 0;
  return s;
}

std::vector<double> values(const HostTensor& t) {
  std::vector<double> v(static_cast<size_t>(t.numel()));
  for (int64_t i = 0; i < t.numel(); ++i) v[static_cast<size_t>(i)] = t.get(i);
  return v;
}

double rounding_slack(const std::vector<double>& r, DType out, double relative_slack) {
  double a = 0, largest = 0;
  for (double x : r)
    if (std::isfinite(x)) {
      largest = std::max(largest, std::abs(x));
      const double back = round_to(out, round_to(out, x + 0.3) - 0.3);
      if (std::isfinite(back)) a = std::max(a, 2 * std::abs(back - x));
    }
  return a + relative_slack * largest;
}

std::string check_float_rule(const std::vector<double>& y, const std::vector<double>& r,
                             const std::vector<double>& p, const FloatRule& rule) {
  if (r.empty()) return "nothing was compared: zero elements";
  if (y.size() != r.size() || p.size() != r.size())
    return fmt::format("sizes differ: y {}, reference {}, plain {}", y.size(), r.size(), p.size());
  if (!rule.nan_declared)
    for (size_t i = 0; i < r.size(); ++i)
      if (std::isnan(r[i])) return fmt::format("the reference is NaN at {} and the case declares no NaN", i);
  const double a = rounding_slack(r, rule.out, rule.relative_slack);
  const ErrorStats ours = error_stats(y, r), plain = error_stats(p, r);
  const auto at = static_cast<size_t>(std::max<int64_t>(ours.worst, 0));
  if (ours.nan_mismatch) return fmt::format("at {}: {} where the reference has {}", at, y[at], r[at]);
  if (ours.max_error > 2 * plain.max_error + a)
    return fmt::format("at {}: |{} - {}| = {:.3g} > 2 * {:.3g} + {:.3g}", at, y[at], r[at], ours.max_error,
                       plain.max_error, a);
  if (ours.mean_error > 1.25 * plain.mean_error + a / 8)
    return fmt::format("mean error {:.3g} > 1.25 * {:.3g} + {:.3g}", ours.mean_error, plain.mean_error,
                       a / 8);
  if (ours.nmse >
      rule.nmse_cap *
          (rule.out == DType::bf16 ? 64 : 1))  // bf16 has 3 bits less than fp16: 2^6 in the square
    return fmt::format("NMSE {:.3g} above {:.3g}", ours.nmse, rule.nmse_cap);
  return {};
}

std::string check_bitwise(const HostTensor& got, const HostTensor& want) {
  if (got.numel() == 0 && want.numel() == 0) return {};
  if (got.numel() != want.numel() || got.dtype() != want.dtype()) return "shape or dtype differs";
  const auto a = got.bytes(), b = want.bytes();
  if (std::memcmp(a.data(), b.data(), a.size()) == 0) return {};
  const auto size = static_cast<size_t>(size_of(got.dtype()));
  for (int64_t i = 0; i < got.numel(); ++i) {
    const size_t at = static_cast<size_t>(i) * size;
    if (std::memcmp(&a[at], &b[at], size) == 0) continue;
    if (is_float(got.dtype()) && std::isnan(got.get(i)) && std::isnan(want.get(i))) continue;
    return fmt::format("element {}: {} instead of {}", i, got.get(i), want.get(i));
  }
  return {};
}

}  // namespace octavo::harness
