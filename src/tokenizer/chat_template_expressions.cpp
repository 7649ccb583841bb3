#include "tokenizer/chat_template_expressions.h"

#include <fmt/format.h>

#include <algorithm>

#include "tokenizer/chat_template_builtins.h"

namespace octavo::chat {

using Kind = Token::Kind;

namespace {
constexpr int kDeepestExpression = 100;  // levels of the tree
constexpr int kMostOpen = 300;           // calls of this parser; a pair of parentheses takes three
}  // namespace

ExpressionParser::DepthGuard::DepthGuard(ExpressionParser& parser) : parser_(parser) {
  if (++parser.open_ > kMostOpen) {
    --parser.open_;
    parser.fail(fmt::format("expressions nested deeper than {}", kMostOpen / 3));
  }
}

const Token& ExpressionParser::expect(Kind kind, std::string_view what) {
  if (!is(kind)) fail(fmt::format("{} is expected, not {}", what, describe(current())));
  return next();
}
void ExpressionParser::expect_op(std::string_view op) {
  if (!skip_op(op)) fail(fmt::format("'{}' is expected, not {}", op, describe(current())));
}
void ExpressionParser::expect_name(std::string_view name) {
  if (!skip_name(name)) fail(fmt::format("'{}' is expected, not {}", name, describe(current())));
}

bool ExpressionParser::is_constant_name(std::string_view name) {
  return name == "true" || name == "false" || name == "none" || name == "True" || name == "False" ||
         name == "None";
}

ExprPtr ExpressionParser::make(ExprKind kind, int line, std::string text) const {
  auto e = std::make_unique<Expr>();
  e->kind = kind, e->line = line, e->text = std::move(text);
  return e;
}

void ExpressionParser::add(Expr& parent, ExprPtr part) const {
  if (part) parent.depth = std::max(parent.depth, part->depth + 1);
  if (parent.depth > kDeepestExpression)
    fail(fmt::format("expressions nested deeper than {}", kDeepestExpression));
  parent.parts.push_back(std::move(part));
}

ExprPtr ExpressionParser::tuple_or_expression(bool with_conditional,
                                              const std::vector<std::string_view>& ends,
                                              bool in_parentheses) {
  const int line = current().line;
  std::vector<ExprPtr> parts;
  bool several = false;
  const auto ended = [&] {
    return is(Kind::variable_end) || is(Kind::block_end) || is_op(")") ||
           (is(Kind::name) && std::find(ends.begin(), ends.end(), current().text) != ends.end());
  };
  while (!ended()) {
    parts.push_back(expression(with_conditional));
    if (!is_op(",")) break;
    next();
    several = true;
  }
  if (!several && parts.size() == 1) return std::move(parts[0]);
  if (!several && !in_parentheses)
    fail(fmt::format("an expression is expected, not {}", describe(current())));
  ExprPtr e = make(ExprKind::tuple, line);
  for (ExprPtr& part : parts) add(*e, std::move(part));
  return e;
}

ExprPtr ExpressionParser::expression(bool with_conditional) {
  const DepthGuard guard(*this);
  return with_conditional ? conditional() : disjunction();
}

ExprPtr ExpressionParser::conditional() {
  const DepthGuard guard(*this);
  ExprPtr e = disjunction();
  while (is_name("if")) {
    ExprPtr choice = make(ExprKind::conditional, next().line);
    add(*choice, std::move(e));
    ++optional_;
    add(*choice, disjunction());
    add(*choice, skip_name("else") ? conditional() : nullptr);
    --optional_;
    e = std::move(choice);
  }
  return e;
}

// a NAME b NAME c ...
template <class Next>
ExprPtr ExpressionParser::chain(ExprKind kind, Next next_operand, std::string_view name_between) {
  ExprPtr first = next_operand();
  if (!is_name(name_between)) return first;
  ExprPtr e = make(kind, first->line);
  add(*e, std::move(first));
  while (skip_name(name_between)) add(*e, next_operand());
  return e;
}

ExprPtr ExpressionParser::disjunction() {
  return chain(
      ExprKind::or_, [this] { return conjunction(); }, "or");
}
ExprPtr ExpressionParser::conjunction() {
  return chain(
      ExprKind::and_, [this] { return negation(); }, "and");
}

ExprPtr ExpressionParser::negation() {
  if (!is_name("not")) return comparison();
  const DepthGuard guard(*this);
  ExprPtr e = make(ExprKind::not_, next().line);
  add(*e, negation());
  return e;
}

ExprPtr ExpressionParser::comparison() {
  ExprPtr first = sum();
  ExprPtr e;
  while (true) {
    std::string op;
    for (const std::string_view known : {"==", "!=", "<", "<=", ">", ">="})
      if (is_op(known)) op = known;
    if (is_name("in")) op = "in";
    if (is_name("not") && look().kind == Kind::name && look().text == "in") op = "not in";
    if (op.empty()) return e ? std::move(e) : std::move(first);
    if (op == "not in") next();
    const int line = next().line;
    if (!e) e = make(ExprKind::compare, line), add(*e, std::move(first));
    e->operators.push_back(op);
    add(*e, sum());
  }
}

// Operators of one rank, from left to right, in one node: long sums nest no deeper than short ones.
ExprPtr ExpressionParser::binary(ExprPtr (ExpressionParser::*operand)(),
                                 std::initializer_list<std::string_view> operators) {
  ExprPtr first = (this->*operand)();
  ExprPtr e;
  while (std::any_of(operators.begin(), operators.end(), [this](std::string_view op) { return is_op(op); })) {
    if (!e) e = make(ExprKind::binary, current().line), add(*e, std::move(first));
    e->operators.push_back(next().text);
    add(*e, (this->*operand)());
  }
  return e ? std::move(e) : std::move(first);
}

ExprPtr ExpressionParser::sum() { return binary(&ExpressionParser::concatenation, {"+", "-"}); }

ExprPtr ExpressionParser::concatenation() {
  ExprPtr first = product();
  if (!is_op("~")) return first;
  ExprPtr e = make(ExprKind::concat, first->line);
  add(*e, std::move(first));
  while (skip_op("~")) add(*e, product());
  return e;
}

ExprPtr ExpressionParser::product() { return binary(&ExpressionParser::power, {"*", "/", "//", "%"}); }

ExprPtr ExpressionParser::power() {
  ExprPtr first = unary();
  if (!is_op("**")) return first;
  ExprPtr e = make(ExprKind::binary, current().line);
  add(*e, std::move(first));
  while (is_op("**")) {  // NOTE: from left to right in jinja2, unlike in Python
    e->operators.push_back(next().text);
    add(*e, unary());
  }
  return e;
}

ExprPtr ExpressionParser::unary(bool with_filters) {
  const DepthGuard guard(*this);
  ExprPtr e;
  if (is_op("-") || is_op("+")) {
    e = make(is_op("-") ? ExprKind::negate : ExprKind::plus, current().line);
    next();
    add(*e, unary(false));
  } else {
    e = primary();
  }
  e = postfix(std::move(e));
  return with_filters ? filters_and_tests(std::move(e)) : std::move(e);
}

ExprPtr ExpressionParser::primary() {
  const int line = current().line;
  if (is(Kind::name)) {
    const std::string name = next().text;
    if (!is_constant_name(name)) {
      use(name);
      return make(ExprKind::name, line, name);
    }
    ExprPtr e = make(ExprKind::constant, line);
    e->value = name[0] == 'n' || name[0] == 'N' ? Value::none() : Value(name == "true" || name == "True");
    return e;
  }
  if (is(Kind::string)) {
    std::string text;
    while (is(Kind::string)) text += next().text;  // neighbours are joined
    ExprPtr e = make(ExprKind::constant, line);
    e->value = Value::text(std::move(text));
    return e;
  }
  if (is(Kind::integer) || is(Kind::number)) {
    ExprPtr e = make(ExprKind::constant, line);
    e->value = is(Kind::integer) ? Value(current().integer) : Value(current().number);
    next();
    return e;
  }
  if (skip_op("(")) {
    ExprPtr e = tuple_or_expression(true, {}, true);
    expect_op(")");
    return e;
  }
  if (is_op("[")) return list();
  if (is_op("{")) return dict();
  fail(fmt::format("an expression is expected, not {}", describe(current())));
}

ExprPtr ExpressionParser::list() {
  ExprPtr e = make(ExprKind::list, next().line);
  while (!is_op("]")) {
    add(*e, expression());
    if (!skip_op(",")) break;
  }
  expect_op("]");
  return e;
}

ExprPtr ExpressionParser::dict() {
  ExprPtr e = make(ExprKind::dict, next().line);
  while (!is_op("}")) {
    add(*e, expression());
    expect_op(":");
    add(*e, expression());
    if (!skip_op(",")) break;
  }
  expect_op("}");
  return e;
}

ExprPtr ExpressionParser::postfix(ExprPtr e) {
  while (true) {
    if (is_op(".") || is_op("["))
      e = subscript(std::move(e));
    else if (is_op("("))
      e = call(std::move(e));
    else
      return e;
  }
}

ExprPtr ExpressionParser::filters_and_tests(ExprPtr e) {
  while (true) {
    if (is_op("|"))
      e = filters(std::move(e));
    else if (is_name("is"))
      e = test(std::move(e));
    else if (is_op("("))
      e = call(std::move(e));
    else
      return e;
  }
}

ExprPtr ExpressionParser::subscript(ExprPtr subject) {
  const int line = current().line;
  if (skip_op(".")) {
    if (is(Kind::name)) {
      ExprPtr e = make(ExprKind::attribute, line, next().text);
      add(*e, std::move(subject));
      return e;
    }
    if (!is(Kind::integer))
      fail(fmt::format("a name or number is expected behind '.', not {}", describe(current())));
    ExprPtr e = make(ExprKind::item, line), index = make(ExprKind::constant, line);
    index->value = Value(next().integer);
    add(*e, std::move(subject));
    add(*e, std::move(index));
    return e;
  }
  expect_op("[");
  ExprPtr e = make(ExprKind::item, line);
  add(*e, std::move(subject));
  std::vector<ExprPtr> parts;
  while (!is_op("]")) {
    if (!parts.empty()) expect_op(",");
    parts.push_back(slice_or_expression());
  }
  expect_op("]");
  if (parts.size() == 1) {
    add(*e, std::move(parts[0]));
    return e;
  }
  ExprPtr key = make(ExprKind::tuple, line);
  for (ExprPtr& part : parts) {
    if (part->kind == ExprKind::slice) fail("a slice cannot be part of a tuple");
    add(*key, std::move(part));
  }
  add(*e, std::move(key));
  return e;
}

ExprPtr ExpressionParser::slice_or_expression() {
  const int line = current().line;
  ExprPtr start = is_op(":") ? nullptr : expression();
  if (!is_op(":")) return start;
  next();
  const auto bound = [this] { return is_op("]") || is_op(",") || is_op(":") ? nullptr : expression(); };
  ExprPtr e = make(ExprKind::slice, line);
  add(*e, std::move(start));
  add(*e, bound());
  add(*e, skip_op(":") ? bound() : nullptr);
  return e;
}

Arguments ExpressionParser::arguments() {
  Arguments a;
  expect_op("(");
  while (!is_op(")")) {
    if (is_op("*")) {
      if (a.rest || a.named_rest) fail("only one *argument is allowed, before **arguments");
      next();
      a.rest = expression();
    } else if (is_op("**")) {
      if (a.named_rest) fail("only one **argument is allowed");
      next();
      a.named_rest = expression();
    } else if (is(Kind::name) && look().kind == Kind::op && look().text == "=") {
      if (a.named_rest) fail("named arguments stand before **arguments");
      std::string name = next().text;
      next();
      a.named.emplace_back(std::move(name), expression());
    } else {
      if (a.rest || a.named_rest || !a.named.empty())
        fail("arguments without a name stand before the others");
      a.positional.push_back(expression());
    }
    if (!skip_op(",")) break;
  }
  expect_op(")");
  return a;
}

void ExpressionParser::add_arguments(Expr& e) {
  e.arguments = arguments();
  const auto count = [&](const ExprPtr& part) { e.depth = std::max(e.depth, part ? part->depth + 1 : 0); };
  for (const ExprPtr& part : e.arguments.positional) count(part);
  for (const auto& [name, part] : e.arguments.named) count(part);
  count(e.arguments.rest), count(e.arguments.named_rest);
  if (e.depth > kDeepestExpression)
    fail(fmt::format("expressions nested deeper than {}", kDeepestExpression));
}

ExprPtr ExpressionParser::call(ExprPtr callee) {
  ExprPtr e = make(ExprKind::call, current().line);
  add(*e, std::move(callee));
  add_arguments(*e);
  return e;
}

// NOTE: templates made for several engines guard what only some have: {% if x is string %}{% set x = x|from_json %}. As in
// jinja2 a filter that it does not know either is an error inside of `if` only when it is reached.
void ExpressionParser::refuse_unless_optional(const char* what, const std::string& name, int line) const {
  static constexpr std::string_view kKnownToJinja[] = {"pprint", "random",   "striptags",
                                                       "urlize", "wordwrap", "xmlattr"};
  const bool known =
      std::find(std::begin(kKnownToJinja), std::end(kKnownToJinja), name) != std::end(kKnownToJinja);
  if (known || optional_ == 0)
    fail_at(name_, line, fmt::format("the {} {} is not supported", what, repr_of(name)));
}

ExprPtr ExpressionParser::filters(ExprPtr subject, bool inline_start) {
  while (inline_start || is_op("|")) {
    if (!inline_start) next();
    inline_start = false;
    const int line = current().line;
    ExprPtr e = make(ExprKind::filter, line, expect(Kind::name, "the name of a filter").text);
    while (skip_op(".")) e->text += "." + expect(Kind::name, "the name of a filter").text;
    if (!find_filter(e->text)) refuse_unless_optional("filter", e->text, line);
    add(*e, std::move(subject));
    if (is_op("(")) add_arguments(*e);
    subject = std::move(e);
  }
  return subject;
}

ExprPtr ExpressionParser::test(ExprPtr subject) {
  const int line = next().line;
  const bool negated = skip_name("not");
  ExprPtr e = make(ExprKind::test, line, expect(Kind::name, "the name of a test").text);
  if (!find_test(e->text)) refuse_unless_optional("test", e->text, line);
  add(*e, std::move(subject));
  const bool has_operand =
      is(Kind::name) || is(Kind::string) || is(Kind::integer) || is(Kind::number) || is_op("[") || is_op("{");
  if (is_op("(")) {
    add_arguments(*e);
  } else if (has_operand && !is_name("else") && !is_name("or") && !is_name("and")) {
    if (is_name("is")) fail("tests cannot be chained with is");
    e->arguments.positional.push_back(postfix(primary()));
    e->depth = std::max(e->depth, e->arguments.positional[0]->depth + 1);
  }
  if (!negated) return e;
  ExprPtr inverse = make(ExprKind::not_, line);
  add(*inverse, std::move(e));
  return inverse;
}

}  // namespace octavo::chat
