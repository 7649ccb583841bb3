// What one render of a chat template may use, and what it throws. Templates come from strangers: 40 lines of Jinja can ask
// for hours or terabytes. Everything that works on values charges the budget of the render that runs on this thread.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace octavo {

struct RenderLimits {
  int64_t steps = 5'000'000;           // evaluated expressions, compared values, copied blocks of 64 bytes
  int64_t bytes = int64_t{128} << 20;  // that all values made in one render take together
  int64_t output = int64_t{16} << 20;  // bytes of the rendered text
  int depth = 1000;                    // nested evaluations: macros in macros, expressions in expressions
  double seconds = 0.1;                // of this thread's CPU time
};

namespace chat {

// What goes wrong while rendering; ChatTemplate::render adds name and line and makes an octavo::Error of it.
class RenderError : public std::runtime_error {
 public:
  enum class Reason { template_fault, raised_by_template, limit };
  explicit RenderError(const std::string& message, Reason why = Reason::template_fault)
      : std::runtime_error(message), reason_(why) {}
  Reason reason() const { return reason_; }

 private:
  Reason reason_;
};
[[noreturn]] void fail(const std::string& message);
[[noreturn]] void fail_limit(const std::string& message);

class Budget {
 public:
  explicit Budget(const RenderLimits& limits);  // becomes this thread's until it is destroyed
  ~Budget();
  Budget(const Budget&) = delete;

  // Without a budget on this thread these do nothing.
  static void step(int64_t n = 1);
  static void bytes(int64_t n);  // before they are allocated

  // One more nested evaluation.
  struct Level {
    Level();
    ~Level();
  };

 private:
  void check_time();

  RenderLimits limits_;
  Budget* outer_;
  int64_t steps_ = 0, bytes_ = 0, next_look_ = 0, next_look_bytes_ = 0;
  int depth_ = 0;
  double start_;
};

// out += piece, charged: for texts whose length the template decides.
void append(std::string& out, std::string_view piece);

}  // namespace chat
}  // namespace octavo
