// Norms whose rows are given out by a stream's counter (cuda/row_turns.cuh): many rows at once give the bits of few, on two
// streams at once and in replayed graphs too, and the counter is at zero afterwards.
#pragma once
#include <functional>
#include <string>

namespace octavo::gpu_test {

void check_turns(const std::function<void(bool held, const std::string& what)>& check);

}  // namespace octavo::gpu_test
