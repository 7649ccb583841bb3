// The tests of jinja2: `x is NAME(...)`.
#include <fmt/format.h>

#include <map>

#include "tokenizer/chat_template_builtins.h"
#include "tokenizer/chat_template_text.h"

namespace octavo::chat {

using Kind = Value::Kind;

namespace {

const Value& operand(CallArguments& a) {
  const Bound b("test", a, {"other"}, 1);
  return a.positional.empty() ? a.named[0].second : a.positional[0];
}

template <Kind... kinds>
bool is_kind(const Value& v, CallArguments& a) {
  Bound("test", a, {});
  return (v.is(kinds) || ...);
}

bool not_undefined(const Value& v, CallArguments& a) {
  Bound("defined", a, {});
  return !v.is(Kind::undefined);
}
bool is_true(const Value& v, CallArguments&) { return v.is(Kind::boolean) && v.boolean(); }
bool is_false(const Value& v, CallArguments&) { return v.is(Kind::boolean) && !v.boolean(); }
bool is_sequence(const Value& v,
                 CallArguments&) {  // has a length and items by index; an undefined value says so too
  return v.is(Kind::text) || v.is(Kind::dict) || v.is(Kind::undefined) ||
         (v.is_sequence() && !v.is(Kind::view));
}
bool can_iterate(const Value& v, CallArguments&) { return is_iterable(v); }
bool can_call(const Value& v, CallArguments&) {
  return v.is(Kind::object) ? v.object_as<Callable>() != nullptr : v.is(Kind::undefined);
}
bool is_lower_case(const Value& v, CallArguments&) { return passes(to_text(v), TextTest::lower); }
bool is_upper_case(const Value& v, CallArguments&) { return passes(to_text(v), TextTest::upper); }
bool is_markup(const Value& v, CallArguments&) { return v.is(Kind::text) && v.as_text().markup; }
bool names_filter(const Value& v, CallArguments&) { return v.is(Kind::text) && find_filter(v.utf8()); }
bool names_test(const Value& v, CallArguments&) { return v.is(Kind::text) && find_test(v.utf8()); }

bool remainder_is(const Value& v, const Value& divisor, int64_t wanted) {
  return equal(arithmetic("%", v, divisor), Value(wanted));
}
bool is_odd(const Value& v, CallArguments&) { return remainder_is(v, Value(2), 1); }
bool is_even(const Value& v, CallArguments&) { return remainder_is(v, Value(2), 0); }
bool is_divisible(const Value& v, CallArguments& a) { return remainder_is(v, operand(a), 0); }

bool is_same(const Value& v, CallArguments& a) {
  const Value& other = operand(a);
  return v.kind() == other.kind() && v.identity() == other.identity() && equal(v, other);
}
bool is_in(const Value& v, CallArguments& a) { return contains(operand(a), v); }
bool is_equal(const Value& v, CallArguments& a) { return compare("==", v, operand(a)); }
bool is_unequal(const Value& v, CallArguments& a) { return compare("!=", v, operand(a)); }
bool is_less(const Value& v, CallArguments& a) { return compare("<", v, operand(a)); }
bool is_at_most(const Value& v, CallArguments& a) { return compare("<=", v, operand(a)); }
bool is_greater(const Value& v, CallArguments& a) { return compare(">", v, operand(a)); }
bool is_at_least(const Value& v, CallArguments& a) { return compare(">=", v, operand(a)); }

}  // namespace

Test find_test(std::string_view name) {
  static const std::map<std::string_view, Test> tests = {
      {"boolean", is_kind<Kind::boolean>},
      {"callable", can_call},
      {"defined", not_undefined},
      {"divisibleby", is_divisible},
      {"eq", is_equal},
      {"equalto", is_equal},
      {"==", is_equal},
      {"escaped", is_markup},
      {"even", is_even},
      {"false", is_false},
      {"filter", names_filter},
      {"float", is_kind<Kind::number>},
      {"ge", is_at_least},
      {">=", is_at_least},
      {"greaterthan", is_greater},
      {"gt", is_greater},
      {">", is_greater},
      {"in", is_in},
      {"integer", is_kind<Kind::integer>},
      {"iterable", can_iterate},
      {"le", is_at_most},
      {"<=", is_at_most},
      {"lessthan", is_less},
      {"lower", is_lower_case},
      {"lt", is_less},
      {"<", is_less},
      {"mapping", is_kind<Kind::dict>},
      {"ne", is_unequal},
      {"!=", is_unequal},
      {"none", is_kind<Kind::none>},
      {"number", is_kind<Kind::boolean, Kind::integer, Kind::number>},
      {"odd", is_odd},
      {"sameas", is_same},
      {"sequence", is_sequence},
      {"string", is_kind<Kind::text>},
      {"test", names_test},
      {"true", is_true},
      {"undefined", is_kind<Kind::undefined>},
      {"upper", is_upper_case},
  };
  const auto found = tests.find(name);
  return found == tests.end() ? nullptr : found->second;
}

}  // namespace octavo::chat
