// The one exception type of octavo. Libraries throw it, programs turn its kind into an exit code.
// A message names the op or file, the argument, the two numbers that disagree, and what to change.
#pragma once
#include <stdexcept>
#include <string>

namespace octavo {

// The value is the exit code of the program (design 9).
enum class ErrorKind : int {
  runtime = 1,        // anything that fails while running, I/O included
  usage = 2,          // a bad argument of a call or of the command line
  bad_model = 3,      // a model folder or file that is missing, damaged or not understood
  out_of_memory = 4,  // does not fit the memory or the budget
  no_device = 5,      // no usable device, or an instruction set that this CPU lacks
  device_fault = 70,  // a CUDA error after which the process must be restarted
  interrupted = 130
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

}  // namespace octavo
