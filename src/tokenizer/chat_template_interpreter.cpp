#include "tokenizer/chat_template_interpreter.h"

#include <fmt/format.h>

#include <algorithm>

namespace octavo::chat {

using Kind = Value::Kind;

// ---- scopes and loops

const Value* Scope::find(std::string_view name) const {
  for (const Scope* s = this; s; s = s->outer.get())
    for (const auto& [known, value] : s->variables)
      if (known == name) return &value;
  return nullptr;
}

void Scope::set(const std::string& name, Value value) {
  for (auto& [known, old] : variables)
    if (known == name) {
      old = std::move(value);
      return;
    }
  variables.emplace_back(name, std::move(value));
}

namespace {

ScopePtr inside(const ScopePtr& outer) {
  Budget::bytes(sizeof(Scope));
  auto scope = std::make_shared<Scope>();
  scope->outer = outer;
  return scope;
}

// When a loop is left, by whichever way, its variable outlives what it pulls from.
struct LoopEnd {
  Loop& loop;
  ~LoopEnd() {
    loop.pull = nullptr;
    loop.seen_by_changed.reset();
  }
};

}  // namespace

bool Loop::has_next() {
  if (ahead.empty() && pull) {
    Value v;
    if (pull(v)) ahead.push_back(std::move(v));
  }
  return !ahead.empty();
}

bool Loop::advance() {
  if (!has_next()) return false;
  previous = std::exchange(current, std::move(ahead.front()));
  ahead.pop_front();
  ++index0;
  return true;
}

int64_t Loop::length() {
  if (!known_length) {
    for (Value v; pull && pull(v);) {
      Budget::bytes(sizeof(Value));
      ahead.push_back(v);
    }
    known_length = index0 + 1 + static_cast<int64_t>(ahead.size());
  }
  return *known_length;
}

std::optional<Value> Loop::attribute(const std::string& name) {
  if (name == "index") return index0 + 1;
  if (name == "index0") return index0;
  if (name == "first") return index0 == 0;
  if (name == "last") return !has_next();
  if (name == "length") return length();
  if (name == "revindex") return length() - index0;
  if (name == "revindex0") return length() - index0 - 1;
  if (name == "depth") return 1;
  if (name == "depth0") return 0;
  if (name == "previtem") return index0 == 0 ? Value::undefined("there is no previous item") : previous;
  if (name == "nextitem") return has_next() ? ahead.front() : Value::undefined("there is no next item");
  if (name == "cycle")
    return Value::object(std::make_shared<Native>("cycle", [i = index0](CallArguments& a) {
      if (a.positional.empty()) fail("no items for cycling given");
      return a.positional[static_cast<size_t>(i) % a.positional.size()];
    }));
  if (name == "changed")
    return Value::object(std::make_shared<Native>(
        "changed", [self = shared_from_this()](CallArguments& a) { return Value(self->changed(a)); }));
  return std::nullopt;
}

bool Loop::changed(const CallArguments& a) {
  Value now = Value::tuple(a.positional);
  const bool differs = !seen_by_changed || !equal(*seen_by_changed, now);
  if (pull) seen_by_changed = std::move(now);  // NOTE: kept beyond the loop it could hold the loop itself
  return differs;
}

// ---- macros

std::optional<Value> Macro::attribute(const std::string& name) {
  if (name == "name") return Value::text(code.name);
  if (name == "caller") return code.takes_caller;
  if (name == "catch_kwargs") return code.takes_named_rest;
  if (name == "catch_varargs") return code.takes_rest;
  if (name != "arguments") return std::nullopt;
  std::vector<Value> names;
  for (const Parameter& p : code.parameters) names.push_back(Value::text(p.name));
  return Value::tuple(std::move(names));
}

Value Macro::call(CallArguments arguments) { return interpreter.call_macro(*this, std::move(arguments)); }

Value Interpreter::call_macro(Macro& macro, CallArguments arguments) {
  const Budget::Level level;
  const ScopePtr scope = inside(macro.closure);
  bind_parameters(macro.code, arguments, scope);
  std::string text;
  std::string* outer = std::exchange(out_, &text);
  try {
    execute(*macro.code.body, scope);
  } catch (...) {
    out_ = outer;
    throw;
  }
  out_ = outer;
  return Value::text(std::move(text));
}

void Interpreter::bind_parameters(const MacroCode& code, CallArguments& a, const ScopePtr& scope) {
  const auto take_named = [&](std::string_view name) -> std::optional<Value> {
    const auto found =
        std::find_if(a.named.begin(), a.named.end(), [&](const auto& n) { return n.first == name; });
    if (found == a.named.end()) return std::nullopt;
    Value v = std::move(found->second);
    a.named.erase(found);
    return v;
  };
  bool names_caller = false;
  for (size_t i = 0; i < code.parameters.size(); ++i) {
    const Parameter& p = code.parameters[i];
    names_caller |= p.name == "caller";
    std::optional<Value> v = i < a.positional.size() ? std::optional(a.positional[i]) : take_named(p.name);
    if (!v && p.fallback) v = evaluate(*p.fallback, scope);
    scope->set(p.name, v ? *v : Value::undefined(fmt::format("parameter '{}' was not provided", p.name)));
  }
  if (code.takes_caller && !names_caller)
    scope->set("caller", take_named("caller").value_or(Value::undefined("No caller defined")));
  if (code.takes_named_rest) {
    Dict rest;
    for (auto& [name, v] : a.named) rest.set(Value::text(name), v);
    scope->set("kwargs", Value::dict(std::move(rest)));
  } else if (!a.named.empty()) {
    fail(fmt::format("macro '{}' takes no keyword argument '{}'", code.name, a.named[0].first));
  }
  const size_t taken = std::min(code.parameters.size(), a.positional.size());
  if (code.takes_rest)
    scope->set("varargs",
               Value::tuple({a.positional.begin() + static_cast<std::ptrdiff_t>(taken), a.positional.end()}));
  else if (a.positional.size() > taken)
    fail(fmt::format("macro '{}' takes not more than {} argument(s), {} given", code.name, taken,
                     a.positional.size()));
}

Value Interpreter::make_macro(const MacroCode& code, const ScopePtr& scope) {
  macros_.push_back(std::make_shared<Macro>(*this, code, scope));
  return Value::object(macros_.back());
}

// ---- statements

Interpreter::Interpreter(const RenderLimits& limits, const std::tm& now)
    : globals_(make_globals(now)), budget_(limits), output_limit_(limits.output) {}

Interpreter::~Interpreter() {
  for (const auto& space : namespaces_) space->attributes = Dict();
  for (const auto& macro : macros_) macro->closure.reset();
}

std::string Interpreter::run(const Block& body, std::vector<std::pair<std::string, Value>> variables) {
  const ScopePtr scope = inside(globals_);
  scope->variables = std::move(variables);
  std::string text;
  out_ = &text;
  execute(body, inside(scope));
  return text;
}

void Interpreter::emit(std::string_view text) {
  if (static_cast<int64_t>(out_->size() + text.size()) > output_limit_)
    fail_limit(fmt::format("the output is longer than {} bytes", output_limit_));
  append(*out_, text);
}

Interpreter::Flow Interpreter::execute(const Block& body, const ScopePtr& scope) {
  const Budget::Level level;
  for (const Statement& s : body)
    if (const Flow flow = execute(s, scope); flow != Flow::normal) return flow;
  return Flow::normal;
}

Interpreter::Flow Interpreter::execute(const Statement& s, const ScopePtr& scope) {
  Budget::step();
  line_ = s.line;
  switch (s.kind) {
    case StatementKind::text: emit(s.text); break;
    case StatementKind::print:
      for (const ExprPtr& e : s.expressions) emit(to_text(evaluate(*e, scope)));
      break;
    case StatementKind::if_: return branch(s, scope);
    case StatementKind::for_: return loop(s, scope);
    case StatementKind::set: assign(s.targets[0], evaluate(*s.expressions[0], scope), scope); break;
    case StatementKind::set_block: {
      const Value text = Value::text(captured(s.blocks[0], scope));
      assign(s.targets[0], s.expressions[0] ? filter(*s.expressions[0], scope, &text) : text, scope);
      break;
    }
    case StatementKind::macro: scope->set(s.macro->name, make_macro(*s.macro, scope)); break;
    case StatementKind::call: call_block(s, scope); break;
    case StatementKind::filter: {
      const Value text = Value::text(captured(s.blocks[0], scope));
      emit(to_text(filter(*s.expressions[0], scope, &text)));
      break;
    }
    case StatementKind::with: with(s, scope); break;
    case StatementKind::scope: return execute(s.blocks[0], inside(scope));
    case StatementKind::break_: return Flow::break_;
    case StatementKind::continue_: return Flow::continue_;
  }
  return Flow::normal;
}

Interpreter::Flow Interpreter::branch(const Statement& s, const ScopePtr& scope) {
  for (size_t i = 0; i < s.expressions.size(); ++i)
    if (evaluate(*s.expressions[i], scope).truth()) return execute(s.blocks[i], scope);
  return s.blocks.size() > s.expressions.size() ? execute(s.blocks.back(), scope) : Flow::normal;
}

Interpreter::Flow Interpreter::loop(const Statement& s, const ScopePtr& scope) {
  Cursor source(evaluate(*s.expressions[0], scope));
  const auto state = std::make_shared<Loop>();
  const LoopEnd end{*state};
  if (!s.expressions[1]) state->known_length = source.length();
  state->pull = [&](Value& v) {
    while (source.next(v)) {
      if (!s.expressions[1]) return true;
      const ScopePtr test_scope = inside(scope);
      assign(s.targets[0], v, test_scope);
      if (evaluate(*s.expressions[1], test_scope).truth()) return true;
    }
    return false;
  };
  const Value variable = Value::object(state);
  bool completed = false;  // NOTE: for jinja2, a body left by break or continue did not take place
  while (state->advance()) {
    const ScopePtr body_scope = inside(scope);
    body_scope->set("loop", variable);
    assign(s.targets[0], state->current, body_scope);
    const Flow flow = execute(s.blocks[0], body_scope);
    completed |= flow == Flow::normal;
    if (flow == Flow::break_) break;
  }
  return completed ? Flow::normal : execute(s.blocks[1], inside(scope));
}

void Interpreter::call_block(const Statement& s, const ScopePtr& scope) {
  const Value caller = make_macro(*s.macro, scope);
  emit(to_text(call(*s.expressions[0], scope, &caller)));
}

void Interpreter::with(const Statement& s, const ScopePtr& scope) {
  const ScopePtr body_scope = inside(scope);
  for (size_t i = 0; i < s.targets.size(); ++i)
    assign(s.targets[i], evaluate(*s.expressions[i], scope), body_scope);
  execute(s.blocks[0], body_scope);
}

std::string Interpreter::captured(const Block& body, const ScopePtr& scope) {
  std::string text;
  std::string* outer = std::exchange(out_, &text);
  try {
    execute(body, inside(scope));
  } catch (...) {
    out_ = outer;
    throw;
  }
  out_ = outer;
  return text;
}

void Interpreter::assign(const Target& target, const Value& value, const ScopePtr& scope) {
  if (target.kind == Target::Kind::name) return scope->set(target.name, value);
  if (target.kind == Target::Kind::attribute) {
    const Value* object = scope->find(target.name);
    auto* space = object ? object->object_as<Namespace>() : nullptr;
    if (!space) fail("cannot assign attribute on non-namespace object");
    if (target.attribute.starts_with("_"))
      fail(fmt::format("a namespace cannot store {}: names with a leading underscore are refused",
                       target.attribute));
    return space->attributes.set(Value::text(target.attribute), value);
  }
  const std::vector<Value> parts = elements(value);
  if (parts.size() != target.parts.size())
    fail(fmt::format("cannot unpack {} values into {} names", parts.size(), target.parts.size()));
  for (size_t i = 0; i < parts.size(); ++i) assign(target.parts[i], parts[i], scope);
}

}  // namespace octavo::chat
