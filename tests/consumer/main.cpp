// A program outside octavo's tree that found the installed package: quantises one row and looks at the codes.
#include <octavo/ops.h>

#include <cstdint>
#include <cstdio>

int main() {
  const float x[4] = {1.0f, -2.0f, 0.5f, 0.0f};  // amax 2: one code step is 2/127
  const int8_t want[4] = {64, -127, 32, 0};      // 63.5 rounds to even
  int8_t codes[4];
  float scale = 0;
  octavo::QuantizeRowsArgs args;
  args.x = octavo::ConstTensor::of(x, {1, 4});
  args.codes = octavo::Tensor::of(codes, {1, 4});
  args.scale = octavo::Tensor::of(&scale, {1});
  octavo::quantize_rows(octavo::Context{}, args);
  for (int i = 0; i < 4; ++i) {
    if (codes[i] == want[i]) continue;
    std::printf("code %d is %d, not %d\n", i, codes[i], want[i]);
    return 1;
  }
  std::printf("octavo quantised a row with scale %.9g\n", scale);
  return scale == 2.0f / 127.0f ? 0 : 1;
}
