// What hostile chat templates try: each is rendered or refused with a message within 250 ms of CPU time, and none reaches
// anything outside of its own variables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>

#include "tokenizer/chat_template.h"

namespace octavo {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kAllowed = 2.5;  // sanitizers make the same work several times slower, freeing included
#else
constexpr double kAllowed = 0.25;
#endif

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Outcome {
  bool refused = false;
  std::string text;  // rendered, or the error
  double seconds = 0;
};

Outcome attack(const std::string& attacking_template) {
  const ChatMessage message{"user", "secret"};
  Outcome outcome;
  const double start = cpu_seconds();
  try {
    outcome.text = ChatTemplate::parse(attacking_template, "attack").render(std::span(&message, 1));
  } catch (const Error& e) {
    outcome.refused = true, outcome.text = e.what();
  }
  outcome.seconds = cpu_seconds() - start;
  return outcome;
}

std::string times(int n, const std::string& s) {
  std::string out;
  for (int i = 0; i < n; ++i) out += s;
  return out;
}
std::string nest(int n, const std::string& open, const std::string& inside, const std::string& close) {
  return times(n, open) + inside + times(n, close);
}

// Towards Python's objects. A sandboxed jinja2 prints nothing for these or raises, and so does octavo.
const std::vector<std::string> kEscapes = {
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__']['__mro__'] }}",
    "{{ ''|attr('__class__')|attr('__mro__') }}",
    "{{ [].__class__.__base__.__subclasses__() }}",
    "{{ {}.__class__.__init__.__globals__ }}",
    "{{ messages.__class__ }}",
    "{{ messages[0].__class__.__init__ }}",
    "{{ messages.append({'role': 'system'}) }}",
    "{{ messages.clear() }}",
    "{{ messages.__iadd__([1]) }}",
    "{{ messages[0].update({'role': 'x'}) }}",
    "{{ messages[0].pop('content') }}",
    "{{ messages[0].__setitem__('a', 1) }}",
    "{{ messages[0].setdefault('x', []).append(1) }}",
    "{{ self.__init__.__globals__.__builtins__.__import__('os').popen('id').read() }}",
    "{{ self._TemplateReference__context.cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ lipsum(n=1000000, html=false, min=1000000) }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace(__class__=1) }}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{{ range.__class__ }}",
    "{{ dict.__base__ }}",
    "{{ dict.fromkeys(['a']) }}",
    "{{ raise_exception.__globals__ }}",
    "{{ raise_exception.__closure__ }}",
    "{{ strftime_now.__globals__['sys'] }}",
    "{{ tojson.__globals__ }}",
    "{{ config.items() }}{{ request.application.__globals__ }}",
    "{{ get_flashed_messages.__globals__ }}{{ url_for.__globals__ }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
    "{{ '{x[__class__]}'.format_map({'x': ''}) }}",
    "{{ '%(a.__class__)s' % {'a': 1} }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ messages|map(attribute='__class__.__mro__')|list }}",
    "{{ messages|map('attr', '__class__')|list }}",
    "{{ messages|selectattr('__class__.__name__', 'eq', 'dict')|list }}",
    "{{ messages|groupby('__class__') }}",
    "{{ messages|sort(attribute='__class__.__name__') }}",
    "{{ messages|sum(attribute='__doc__') }}",
    "{{ (messages|map('upper')).gi_frame.f_globals }}",
    "{{ ''.join.__self__.__class__ }}",
    "{{ ''.format.__func__ }}",
    "{% macro m() %}{{ varargs.__class__ }}{% endmacro %}{{ m.__globals__ }}{{ m._func }}{{ m() }}",
    "{% for x in [1] %}{{ loop.__class__ }}{{ loop._iterator }}{{ loop._recurse }}{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{% extends '/etc/passwd' %}",
    "{% block x %}{{ self.x() }}{% endblock %}",
    "{% do messages.append(1) %}",
    "{% autoescape true %}x{% endautoescape %}",
    "{% debug %}",
    "{{ messages|pprint }}",
    "{{ messages|random }}",
    "{{ messages|xmlattr }}",
    "{{ undefined_thing.foo.bar() }}",
    "{{ ''.encode('utf-8') }}{{ ''.translate({}) }}",
    "{{ \"\\x5f\\x5fclass\\x5f\\x5f\" }}{{ ''['\\x5f\\x5fclass\\x5f\\x5f'].mro() }}",
    "{{ ''[['__cl', 'ass__']|join].mro() }}",
    "{{ ''|attr(['__cl', 'ass__']|join)|attr('mro') }}",
};

// Towards all of the memory, time or stack.
std::vector<std::string> exhausting() {
  const std::string doubling = "{% set ns = namespace(x='ab') %}{% for i in range(100000) %}";
  return {
      "{% for i in range(1000000000) %}x{% endfor %}",
      "{{ range(1000000000)|list }}",
      "{{ range(99999999999999999999) }}",
      "{{ range(-9223372036854775807, 9223372036854775807, 1)|length }}",
      "{{ range(0, 9223372036854775807, 9223372036854775807)|list }}",
      "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
      "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}x{% endfor %}{% "
      "endfor %}{% endfor %}",
      "{% for i in range(100000) %}{{ range(100000)|sum }}{% endfor %}",
      "{% for i in range(100000) %}{{ range(100000)|list|length }}{% endfor %}",
      "{% for i in range(100000) if i in range(100000)|list|reverse|list %}{% endfor %}",
      "{{ 'a' * 1000000000 }}",
      "{{ 'a' * 9223372036854775807 }}",
      "{{ [0] * 1000000000 }}",
      "{{ ([[]] * 100000) * 100000 }}",
      "{{ 'x' * 10000000 * 10000000 }}",
      "{{ 9 ** 999999999 }}",
      "{{ 9 ** 9 ** 9 ** 9 }}",
      "{{ 9223372036854775807 * 9223372036854775807 }}",
      "{{ -9223372036854775807 - 1 - 1 }}{{ (-9223372036854775807 - 1) // -1 }}",
      "{{ (-9223372036854775807 - 1)|abs }}",
      "{{ 1.0 ** 1e308 }}{{ 10.0 ** 308 * 10 }}{{ (10.0 ** 308 * 10)|int }}",
      doubling + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x|length }}",
      doubling + "{% set ns.x = ns.x + ns.x %}{% endfor %}",
      doubling + "{% set ns.x = ns.x|replace('a', ns.x) %}{% endfor %}",
      doubling + "{% set ns.x = ns.x.join(['a', 'b', ns.x]) %}{% endfor %}",
      doubling + "{% set ns.x = '%s%s' % (ns.x, ns.x) %}{% endfor %}",
      doubling + "{% set ns.x = '{0}{0}'.format(ns.x) %}{% endfor %}",
      doubling + "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
      doubling + "{% if i < 50 %}{% set ns.x = [ns.x, ns.x] %}{% endif %}{% endfor %}{{ ns.x }}",
      doubling + "{% if i < 50 %}{% set ns.x = [ns.x, ns.x] %}{% endif %}{% endfor %}{{ ns.x|tojson }}",
      doubling + "{% if i < 50 %}{% set ns.x = (ns.x, ns.x) %}{% endif %}{% endfor %}{{ {ns.x: 1} }}",
      "{% set a = namespace(v=[1]) %}{% set b = namespace(v=[1]) %}{% for i in range(50) %}{% set a.v = "
      "[a.v, a.v] %}"
      "{% set b.v = [b.v, b.v] %}{% endfor %}{{ a.v == b.v }}{{ a.v < b.v }}",
      "{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}",
      "{% set ns = namespace() %}{% set ns.self = [ns] %}{{ ns.self == [ns] }}{{ ns|string }}",
      "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}",
      "{% set ns = namespace(x={}) %}{% for i in range(100000) %}{% set ns.x = {'a': ns.x} %}{% endfor %}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(100000) %}{% set ns.x = ns.x|map('string') %}{% "
      "endfor %}{{ ns.x|list }}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(100000) %}{% set ns.x = [1]|map('default', ns.x) "
      "%}{% endfor %}",
      "{% set ns = namespace(x='a') %}{% for i in range(100000) %}{% set ns.x = [ns.x.upper] %}{% endfor %}",
      "{% set ns = namespace() %}{% for i in range(100000) %}{% set m = namespace(p=ns.l) %}{% set ns.l = m "
      "%}{% endfor %}",
      "{% for i in range(100000) %}{% macro m() %}{{ m }}{% endmacro %}{% endfor %}",
      "{% set ns = namespace() %}{% for i in range(9) %}{% set ns.l = loop %}{% set ns.c = loop.changed %}"
      "{{ loop.changed(loop) }}{% endfor %}{{ ns.c(ns.l) }}{{ ns.l.last }}{{ ns.l.length }}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
      "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
      "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
      "{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}",
      "{% macro m(x=m()) %}{% endmacro %}{{ m() }}",
      "{% set m = namespace() %}{% macro f(g) %}{{ g(g) }}{% endmacro %}{{ f(f) }}",
      "{{ " + nest(100000, "(", "1", ")") + " }}",
      "{{ " + nest(100000, "[", "1", "]") + " }}",
      "{{ " + nest(100000, "{1:", "1", "}") + " }}",
      "{{ " + nest(90, "[", "1", "]") + " }}",
      "{{ " + times(100000, "-") + "1 }}",
      "{{ " + times(100000, "not ") + "1 }}",
      "{{ 1" + times(100000, "+1") + " }}",
      "{{ 1" + times(80000, " if 1 else 1") + " }}",
      "{{ a" + times(100000, ".a") + " }}",
      "{{ a" + times(100000, "[0]") + " }}",
      "{{ a" + times(100000, "()") + " }}",
      "{{ a" + times(100000, "|upper") + " }}",
      "{{ 1" + times(90000, " is defined") + " }}",
      "{{ 1" + times(100000, " < 2") + " }}",
      "{{ " + nest(50000, "f(", "1", ")") + " }}",
      "{{ 'x'" + times(50000, "|default('x'") + times(50000, ")") + " }}",
      nest(40000, "{% if 1 %}", "x", "{% endif %}"),
      nest(50, "{% for i in range(9) %}", "x", "{% endfor %}"),
      nest(30000, "{% for i in [1] %}", "x", "{% endfor %}"),
      "{% if 0 %}" + times(30000, "{% elif 0 %}x") + "{% endif %}",
      times(40000, "{{ 1 }}") + times(40000, "{% set x = 1 %}"),
      times(80000, "{#"),
      times(80000, "{% raw %}"),
      "{% set " + nest(100000, "(", "a", ")") + " = 1 %}",
      "{% for " + times(100000, "a, ") + "b in c %}{% endfor %}",
      "{{ '%999999999d' % 1 }}",
      "{{ '%.999999999f' % 1.5 }}",
      "{{ '%*d' % (999999999999, 1) }}",
      "{{ '{:999999999}'.format(1) }}",
      "{{ '{:.999999999f}'.format(1.5) }}",
      "{{ '{:{}}'.format(1, 999999999) }}",
      "{{ '" + nest(2000, "{:", "", "}") + "'.format(1) }}",
      "{{ strftime_now('%999999999d') }}",
      "{{ strftime_now('%c' * 100000) }}",
      "{{ 'a'.center(999999999999) }}",
      "{{ 'a'.ljust(9223372036854775807) }}{{ 'a'.zfill(9223372036854775807) }}",
      "{{ ('\\t' * 100000).expandtabs(999999999) }}",
      "{{ 'a'|center(99999999999) }}",
      "{{ 'a\\nb'|indent(99999999999) }}",
      "{{ [1]|tojson(indent=99999999999) }}",
      "{{ [1]|batch(99999999999, 'x')|list }}",
      "{{ [1]|slice(99999999999)|list }}",
      "{{ 1|round(99999999999) }}{{ 1.5|round(-99999999999) }}",
      "{{ ('ab' * 1000000)|replace('a', 'b' * 1000000) }}",
      "{{ ('a' * 1000000).split('a')|join('b' * 1000000) }}",
      "{% set s = 'a' * 5000000 %}{% for i in range(100000) %}{{ s.find('b') }}{% endfor %}",
      "{% set s = 'é' * 1000000 %}{% for i in range(100000) %}{{ s[999999] }}{% endfor %}",
      "{% set s = 'é' * 1000000 %}{% for i in range(100000) %}{{ s[i:] }}{% endfor %}",
      "{% set s = 'a' * 5000000 %}{% for i in range(100000) %}{{ 'b' in s }}{{ s == s }}{{ s|upper|length "
      "}}{% endfor %}",
      "{% set s = ' ' * 5000000 %}{% for i in range(100000) %}{{ s|trim }}{{ s.strip(s) }}{% endfor %}",
      "{{ (' ' * 3000000).split() }}{{ ('a ' * 3000000).split()|length }}",
      "{{ ('Σ' * 100000).lower() }}",
      "{{ (\"'\" * 100000 ~ 'Σ') | lower }}{{ ('Σ\\'' * 100000)|lower }}",
      "{{ range(100000)|map('string')|unique|list|length }}{{ range(100000)|list|sort|length }}",
      "{{ range(100000)|map('string')|sort(reverse=true)|groupby(0)|length }}",
      "{% for i in range(100000) %}{{ messages|tojson }}{% endfor %}",
      "{{ ('x' * 10000000) }}{{ ('x' * 10000000) }}",
      "{% for i in range(100000) %}" + std::string(1000, 'x') + "{% endfor %}",
  };
}

TEST(ChatTemplateAttacks, NothingOutsideTheTemplateIsReached) {
  for (const std::string& a : kEscapes) {
    const Outcome o = attack(a);
    EXPECT_LT(o.seconds, kAllowed) << a;
    if (o.refused) {
      EXPECT_THAT(o.text, HasSubstr("line 1")) << a;
    } else {
      EXPECT_THAT(o.text, Not(AnyOf(HasSubstr("class '"), HasSubstr("root:"), HasSubstr("uid="),
                                    HasSubstr("globals"))))
          << a;
    }
  }
}

TEST(ChatTemplateAttacks, MessagesStayAsTheyAre) {
  const std::string text = attack(
                               "{% if messages.append is defined %}{% endif %}{{ messages[0].pop is defined "
                               "}}{{ messages|length }}")
                               .text;
  EXPECT_EQ(text, "False1");
}

TEST(ChatTemplateAttacks, EveryResourceIsBounded) {
  double slowest = 0;
  for (const std::string& a : exhausting()) {
    const Outcome o = attack(a);
    slowest = std::max(slowest, o.seconds);
    EXPECT_LT(o.seconds, kAllowed) << a.substr(0, 200) << "\n" << o.text.substr(0, 200);
    if (o.refused) {
      EXPECT_THAT(o.text, HasSubstr("line")) << a.substr(0, 200);
    }
    EXPECT_LE(o.text.size(), size_t{16} << 20) << a.substr(0, 200);
  }
  RecordProperty("attacks", static_cast<int>(exhausting().size() + kEscapes.size()));
  RecordProperty("slowest_ms", static_cast<int>(1000 * slowest));
  EXPECT_GE(exhausting().size() + kEscapes.size(), 100u);
}

TEST(ChatTemplateAttacks, LimitsSayWhatWasTooMuch) {
  const auto refusal = [](const std::string& t, RenderLimits limits) {
    const ChatMessage message{"user", "x"};
    ChatRenderOptions o;
    o.limits = limits;
    try {
      return ChatTemplate::parse(t).render(std::span(&message, 1), o);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::bad_model);
      return std::string(e.what());
    }
  };
  EXPECT_EQ(refusal("\n{% for i in range(99) %}{% endfor %}", {.steps = 100}),
            "chat template: line 2: the template needs too much: more than 100 steps");
  EXPECT_EQ(refusal("{{ 'x' * 2000 }}", {.bytes = 1999}),
            "chat template: line 1: the template needs too much: values take more than 1999 bytes");
  EXPECT_EQ(refusal("{{ 'x' * 20 }}", {.output = 19}),
            "chat template: line 1: the template needs too much: the output is longer than 19 bytes");
  EXPECT_THAT(refusal("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", {.depth = 50}),
              HasSubstr("nested deeper than 50"));
  EXPECT_THAT(refusal("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
                      {.seconds = 0.01}),
              HasSubstr("more than 0.01 s"));
}

}  // namespace
}  // namespace octavo
