#include "tokenizer/chat_template_budget.h"

#include <fmt/format.h>

#include <ctime>

namespace octavo::chat {
namespace {

constexpr int64_t kStepsBetweenLooks = 2048, kBytesBetweenLooks = 1 << 20;  // at the clock

thread_local Budget* current = nullptr;

// CPU time of this thread: what the template costs, however busy the machine is.
double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

void fail(const std::string& message) { throw RenderError(message); }
void fail_limit(const std::string& message) { throw RenderError(message, RenderError::Reason::limit); }

Budget::Budget(const RenderLimits& limits) : limits_(limits), outer_(current), start_(cpu_seconds()) {
  current = this;
}
Budget::~Budget() { current = outer_; }

void Budget::check_time() {
  if (cpu_seconds() - start_ > limits_.seconds)
    fail_limit(fmt::format("rendering took more than {} s", limits_.seconds));
}

void Budget::step(int64_t n) {
  Budget* b = current;
  if (!b) return;
  b->steps_ += n;
  if (b->steps_ > b->limits_.steps) fail_limit(fmt::format("more than {} steps", b->limits_.steps));
  if (b->steps_ < b->next_look_) return;
  b->next_look_ = b->steps_ + kStepsBetweenLooks;
  b->check_time();
}

void Budget::bytes(int64_t n) {
  Budget* b = current;
  if (!b) return;
  if (n > b->limits_.bytes - b->bytes_)
    fail_limit(fmt::format("values take more than {} bytes", b->limits_.bytes));
  b->bytes_ += n;
  if (b->bytes_ < b->next_look_bytes_) return;
  b->next_look_bytes_ = b->bytes_ + kBytesBetweenLooks;
  b->check_time();
}

Budget::Level::Level() {
  if (current && current->depth_ >= current->limits_.depth)
    fail_limit(fmt::format("nested deeper than {} evaluations (a macro that calls itself?)",
                           current->limits_.depth));
  if (current) ++current->depth_;
}
Budget::Level::~Level() {
  if (current) --current->depth_;
}

void append(std::string& out, std::string_view piece) {
  Budget::bytes(static_cast<int64_t>(piece.size()));
  out += piece;
}

}  // namespace octavo::chat
