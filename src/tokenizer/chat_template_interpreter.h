// Walks a parsed template. Names are looked up from the innermost scope outwards; loops, macros, `with` and blocks that
// capture text open a scope, `if` does not; an assignment stores in the innermost scope (as in jinja2).
#pragma once
#include <ctime>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "tokenizer/chat_template_ast.h"
#include "tokenizer/chat_template_budget.h"
#include "tokenizer/chat_template_builtins.h"

namespace octavo::chat {

struct Scope {
  std::shared_ptr<Scope> outer;  // null for the outermost
  std::vector<std::pair<std::string, Value>> variables;

  const Value* find(std::string_view name) const;  // here or further out
  void set(const std::string& name, Value value);  // here
};
using ScopePtr = std::shared_ptr<Scope>;

class Interpreter;

struct Macro : Callable {
  Macro(Interpreter& i, const MacroCode& c, ScopePtr s) : interpreter(i), code(c), closure(std::move(s)) {}
  std::string type_name() const override { return "Macro"; }
  std::optional<Value> attribute(const std::string& name) override;
  Value call(CallArguments arguments) override;
  Interpreter& interpreter;
  const MacroCode& code;
  ScopePtr closure;
};

// The variable `loop`. Elements are taken from their source only when they are asked for.
struct Loop : Object, std::enable_shared_from_this<Loop> {
  std::string type_name() const override { return "LoopContext"; }
  std::optional<Value> attribute(const std::string& name) override;

  bool advance();  // to the next element; false at the end
  bool has_next();
  int64_t length();

  std::function<bool(Value&)>
      pull;  // the next element that passes the loop's filter; empty once the loop is left
  std::optional<int64_t> known_length;
  std::deque<Value> ahead;  // pulled, but not yet reached
  Value current, previous;
  int64_t index0 = -1;
  std::optional<Value> seen_by_changed;

 private:
  bool changed(const CallArguments& a);
};

class Interpreter {
 public:
  Interpreter(const RenderLimits& limits, const std::tm& now);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;

  // The rendered text. `variables` shadow the language's own functions. Throws RenderError; line() says where.
  std::string run(const Block& body, std::vector<std::pair<std::string, Value>> variables);
  int line() const { return line_; }

 private:
  friend struct Macro;
  enum class Flow { normal, break_, continue_ };

  Flow execute(const Block& body, const ScopePtr& scope);
  Flow execute(const Statement& s, const ScopePtr& scope);
  Flow branch(const Statement& s, const ScopePtr& scope);
  Flow loop(const Statement& s, const ScopePtr& scope);
  void call_block(const Statement& s, const ScopePtr& scope);
  void with(const Statement& s, const ScopePtr& scope);
  std::string captured(const Block& body, const ScopePtr& scope);  // what it prints, in a scope of its own
  void assign(const Target& target, const Value& value, const ScopePtr& scope);
  void emit(std::string_view text);
  Value call_macro(Macro& macro, CallArguments arguments);
  void bind_parameters(const MacroCode& code, CallArguments& arguments, const ScopePtr& scope);

  Value evaluate(const Expr& e, const ScopePtr& scope);
  Value variable(const Expr& e, const Scope& scope) const;
  Value dict(const Expr& e, const ScopePtr& scope);
  Value item_or_slice(const Expr& e, const ScopePtr& scope);
  Value logic(const Expr& e, const ScopePtr& scope);
  Value sum(const Expr& e, const ScopePtr& scope);
  Value concatenation(const Expr& e, const ScopePtr& scope);
  Value comparison(const Expr& e, const ScopePtr& scope);
  Value conditional(const Expr& e, const ScopePtr& scope);
  Value call(const Expr& e, const ScopePtr& scope, const Value* caller = nullptr);
  Value filter(const Expr& e, const ScopePtr& scope, const Value* head = nullptr);
  Value test(const Expr& e, const ScopePtr& scope);
  std::vector<Value> all(const std::vector<ExprPtr>& parts, const ScopePtr& scope);
  CallArguments arguments(const Arguments& a, const ScopePtr& scope);

  ScopePtr make_globals(const std::tm& now);
  Value make_namespace(CallArguments& a);
  Value make_macro(const MacroCode& code, const ScopePtr& scope);

  ScopePtr globals_;  // NOTE: before the budget, so that no limit is too small to begin with
  Budget budget_;
  int64_t output_limit_;
  int line_ = 1;
  std::string* out_ = nullptr;
  // NOTE: the only values that can hold themselves; emptied at the end so that nothing leaks.
  std::vector<std::shared_ptr<Namespace>> namespaces_;
  std::vector<std::shared_ptr<Macro>> macros_;
};

}  // namespace octavo::chat
