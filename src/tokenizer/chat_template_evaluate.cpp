// The interpreter's expressions and the functions that every template can call.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "tokenizer/chat_template_interpreter.h"
#include "tokenizer/chat_template_text.h"

namespace octavo::chat {

using Kind = Value::Kind;

namespace {

constexpr int64_t kLongestRange = 100'000;  // jinja2's MAX_RANGE

// dict(mapping or pairs, **named)
Dict dict_from(CallArguments& a) {
  if (a.positional.size() > 1)
    fail(fmt::format("dict expected at most 1 argument, got {}", a.positional.size()));
  Dict dict;
  if (!a.positional.empty()) {
    const Value& source = a.positional[0];
    if (source.is(Kind::dict)) {
      dict = source.as_dict();
    } else {
      for (const Value& pair : elements(source)) {
        const std::vector<Value> two = elements(pair);
        if (two.size() != 2) fail(fmt::format("dict(): an element has {} parts, 2 are required", two.size()));
        dict.set(two[0], two[1]);
      }
    }
  }
  for (auto& [name, v] : a.named) dict.set(Value::text(name), v);
  return dict;
}

Value make_dict(CallArguments& a) { return Value::dict(dict_from(a)); }

Value make_range(CallArguments& a) {
  const Bound b("range", a, {"start", "stop", "step"}, 1);
  const int64_t start = b.has(1) ? b.whole(0) : 0, stop = b.has(1) ? b.whole(1) : b.whole(0),
                step = b.whole(2, 1);
  if (step == 0) fail("range() arg 3 must not be zero");
  const __int128 span = static_cast<__int128>(stop) - start;
  const __int128 n = (span + step + (step > 0 ? -1 : 1)) / step;
  if (n > kLongestRange) fail(fmt::format("a range is longer than {} (the sandbox's limit)", kLongestRange));
  std::vector<Value> items;
  for (int64_t i = 0; i < static_cast<int64_t>(n); ++i) items.push_back(Value(start + i * step));
  Budget::step(static_cast<int64_t>(items.size()));
  std::string label = step == 1 ? fmt::format("range({}, {})", start, stop)
                                : fmt::format("range({}, {}, {})", start, stop, step);
  return Value::sequence(Kind::range, std::move(items), std::move(label));
}

Value raise_exception(CallArguments& a) {
  const Bound b("raise_exception", a, {"message"}, 1);
  throw RenderError(to_text(b[0]), RenderError::Reason::raised_by_template);
}

Value formatted_time(CallArguments& a, const std::tm& now) {
  const Bound b("strftime_now", a, {"format"}, 1);
  const std::string format = b.text(0) + ".";  // so that 0 can only mean that the buffer is too short
  std::array<char, 4096> buffer;
  const size_t n = std::strftime(buffer.data(), buffer.size(), format.c_str(), &now);
  if (n == 0) fail_limit(fmt::format("strftime_now: more than {} bytes", buffer.size()));
  return Value::text(std::string(buffer.data(), n - 1));
}

Value unsupported(const char* name) {
  return Value::object(std::make_shared<Native>(name, [name](CallArguments&) -> Value {
    fail(fmt::format("the function {} is not supported in chat templates", name));
  }));
}

Value function(const char* name, std::function<Value(CallArguments&)> body) {
  return Value::object(std::make_shared<Native>(name, std::move(body)));
}

}  // namespace

ScopePtr Interpreter::make_globals(const std::tm& now) {
  auto scope = std::make_shared<Scope>();
  scope->variables = {
      {"range", function("range", make_range)},
      {"dict", function("dict", make_dict)},
      {"namespace", function("namespace", [this](CallArguments& a) { return make_namespace(a); })},
      {"raise_exception", function("raise_exception", raise_exception)},
      {"strftime_now", function("strftime_now", [now](CallArguments& a) { return formatted_time(a, now); })},
      {"cycler", unsupported("cycler")},
      {"joiner", unsupported("joiner")},
      {"lipsum", unsupported("lipsum")}};
  return scope;
}

Value Interpreter::make_namespace(CallArguments& a) {
  namespaces_.push_back(std::make_shared<Namespace>());
  Namespace& space = *namespaces_.back();
  space.attributes = dict_from(a);
  for (const auto& [key, v] : space.attributes.items())
    if (key.is(Kind::text) && key.utf8().starts_with("_"))
      fail(fmt::format("a namespace cannot store {}: names with a leading underscore are refused",
                       key.utf8()));
  return Value::object(namespaces_.back());
}

Value Interpreter::evaluate(const Expr& e, const ScopePtr& scope) {
  const Budget::Level level;
  Budget::step();
  line_ = e.line;
  switch (e.kind) {
    case ExprKind::constant: return e.value;
    case ExprKind::name: return variable(e, *scope);
    case ExprKind::list: return Value::list(all(e.parts, scope));
    case ExprKind::tuple: return Value::tuple(all(e.parts, scope));
    case ExprKind::dict: return dict(e, scope);
    case ExprKind::attribute: return attribute(evaluate(*e.parts[0], scope), e.text);
    case ExprKind::item: return item_or_slice(e, scope);
    case ExprKind::slice: fail("a slice stands alone");
    case ExprKind::call: return call(e, scope);
    case ExprKind::filter: return filter(e, scope);
    case ExprKind::test: return test(e, scope);
    case ExprKind::negate: return negative(evaluate(*e.parts[0], scope), "-");
    case ExprKind::plus: return negative(evaluate(*e.parts[0], scope), "+");
    case ExprKind::not_: return !evaluate(*e.parts[0], scope).truth();
    case ExprKind::and_:
    case ExprKind::or_: return logic(e, scope);
    case ExprKind::binary: return sum(e, scope);
    case ExprKind::concat: return concatenation(e, scope);
    case ExprKind::compare: return comparison(e, scope);
    case ExprKind::conditional: return conditional(e, scope);
  }
  fail("unknown expression");
}

Value Interpreter::variable(const Expr& e, const Scope& scope) const {
  const Value* found = scope.find(e.text);
  return found ? *found : Value::undefined(fmt::format("'{}' is undefined", e.text));
}

std::vector<Value> Interpreter::all(const std::vector<ExprPtr>& parts, const ScopePtr& scope) {
  std::vector<Value> values;
  for (const ExprPtr& part : parts) values.push_back(evaluate(*part, scope));
  return values;
}

Value Interpreter::dict(const Expr& e, const ScopePtr& scope) {
  Dict dict;
  for (size_t i = 0; i < e.parts.size(); i += 2) {
    Value key = evaluate(*e.parts[i], scope);
    dict.set(std::move(key), evaluate(*e.parts[i + 1], scope));
  }
  return Value::dict(std::move(dict));
}

Value Interpreter::item_or_slice(const Expr& e, const ScopePtr& scope) {
  const Value subject = evaluate(*e.parts[0], scope);
  const Expr& key = *e.parts[1];
  if (key.kind != ExprKind::slice) return item(subject, evaluate(key, scope));
  const auto bound = [&](size_t i) { return key.parts[i] ? evaluate(*key.parts[i], scope) : Value::none(); };
  const Value start = bound(0), stop = bound(1), step = bound(2);
  return slice(subject, start, stop, step);
}

// Python's `and` and `or`: the operand that decides.
Value Interpreter::logic(const Expr& e, const ScopePtr& scope) {
  Value v;
  for (const ExprPtr& part : e.parts) {
    v = evaluate(*part, scope);
    if (v.truth() == (e.kind == ExprKind::or_)) break;
  }
  return v;
}

Value Interpreter::sum(const Expr& e, const ScopePtr& scope) {
  Value v = evaluate(*e.parts[0], scope);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    const Value operand = evaluate(*e.parts[i + 1], scope);
    line_ = e.line;
    v = arithmetic(e.operators[i], v, operand);
  }
  return v;
}

Value Interpreter::concatenation(const Expr& e, const ScopePtr& scope) {
  std::string text;
  for (const ExprPtr& part : e.parts) append(text, to_text(evaluate(*part, scope)));
  return Value::text(std::move(text));
}

Value Interpreter::comparison(const Expr& e, const ScopePtr& scope) {
  Value left = evaluate(*e.parts[0], scope);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    Value right = evaluate(*e.parts[i + 1], scope);
    line_ = e.line;
    if (!compare(e.operators[i], left, right)) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::conditional(const Expr& e, const ScopePtr& scope) {
  if (evaluate(*e.parts[1], scope).truth()) return evaluate(*e.parts[0], scope);
  if (e.parts[2]) return evaluate(*e.parts[2], scope);
  return Value::undefined(fmt::format(
      "the inline if-expression on line {} evaluated to false and no else section was defined.", e.line));
}

CallArguments Interpreter::arguments(const Arguments& a, const ScopePtr& scope) {
  CallArguments values;
  values.positional = all(a.positional, scope);
  for (const auto& [name, part] : a.named) values.named.emplace_back(name, evaluate(*part, scope));
  if (a.rest)
    for (Value& v : elements(evaluate(*a.rest, scope))) values.positional.push_back(std::move(v));
  if (a.named_rest) {
    const Value rest = evaluate(*a.named_rest, scope);
    if (!rest.is(Kind::dict))
      fail(fmt::format("argument after ** must be a mapping, not {}", rest.type_name()));
    for (const auto& [key, v] : rest.as_dict().items()) {
      if (!key.is(Kind::text)) fail("keywords must be strings");
      values.named.emplace_back(key.utf8(), v);
    }
  }
  return values;
}

Value Interpreter::call(const Expr& e, const ScopePtr& scope, const Value* caller) {
  const Value callee = evaluate(*e.parts[0], scope);
  CallArguments values = arguments(e.arguments, scope);
  if (caller) values.named.emplace_back("caller", *caller);
  line_ = e.line;
  if (callee.is(Kind::undefined)) fail_undefined(callee);
  auto* callable = callee.object_as<Callable>();
  if (!callable) fail(fmt::format("'{}' object is not callable", callee.type_name()));
  return callable->call(std::move(values));
}

Value Interpreter::filter(const Expr& e, const ScopePtr& scope, const Value* head) {
  // Filters in a row are evaluated from the innermost one on; `head` is what stands before the first.
  const Expr* before = e.parts[0].get();
  const Value subject = !before                                    ? *head
                        : head && before->kind == ExprKind::filter ? filter(*before, scope, head)
                                                                   : evaluate(*before, scope);
  CallArguments values = arguments(e.arguments, scope);
  line_ = e.line;
  const Filter found = find_filter(e.text);
  if (!found) fail(fmt::format("there is no filter {}", repr_of(e.text)));
  return found(subject, values);
}

Value Interpreter::test(const Expr& e, const ScopePtr& scope) {
  const Value subject = evaluate(*e.parts[0], scope);
  CallArguments values = arguments(e.arguments, scope);
  line_ = e.line;
  const Test found = find_test(e.text);
  if (!found) fail(fmt::format("there is no test {}", repr_of(e.text)));
  return found(subject, values);
}

}  // namespace octavo::chat
