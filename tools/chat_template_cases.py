"""Templates of our own, one construct each, for tests/goldens/chat_templates.jsonl (tools/make_goldens_chat.py renders them)."""

# The variables that every case sees besides messages and the special tokens.
VARIABLES = {
    "n": 7, "x": -2.5, "s": "Hello, Wörld", "empty": "", "nothing": None, "yes": True,
    "words": ["beta", "Alpha", "gamma", "alpha"], "numbers": [3, 1, 2, 1], "nested": [[1, 2], [3, [4]]],
    "d": {"b": 1, "a": "two", "C": [1, 2], "items": "hidden"},
    "people": [{"name": "Ann", "age": 31, "home": {"city": "Rome"}}, {"name": "bob", "age": 25, "home": {"city": "Oslo"}},
               {"name": "Cid", "age": 31}],
    "text": "  line one\nline two\n\n  line four  ", "uni": "Größe 👋🏽 e\u0301 \u2028 日本語", "json": "{\"a\": [1, 2.0, null, true]}",
}

# Blocks, white space, scopes.
STATEMENTS = {
    "text": "plain { text } with } and { % no tags", "trailing_newline": "a\n\n", "crlf": "a\r\nb\rc\r\n",
    "comment": "a{# one #}b\n{# two\nlines #}\nc{#- three -#} d\n  {#+ four #}\ne",
    "trim_blocks": "{% if yes %}\nA\n{% endif %}\nB{% if yes %} C {% endif %}\n\nD",
    "lstrip_blocks": "x\n   {% if yes %}\n  A\n\t{% endif %}\n  {{ n }}\n  {#c#} y\nz  {% if yes %}q{% endif %}",
    "minus": "a  \n {%- if yes -%}  \n b \n {%- endif %}  c {{- n -}}  d \u00a0{{- n }}",
    "plus": "a\n  {%+ if yes +%}\nb\n  {%+ endif %}c{% if yes +%}\nd{% endif %}",
    "raw": "{% raw %}{{ n }} {% if %} {# c #}{% endraw %}\n|{%- raw -%}  {{ x }}  {%- endraw -%}  |\n  {% raw %} r {% endraw %}\nq",
    "if_chain": "{% for i in range(4) %}{% if i == 0 %}zero{% elif i == 1 %}one{% elif i == 2 %}two{% else %}many{% endif %},{% endfor %}",
    "if_tuple": "{% if 0, %}tuple{% endif %}{% if () %}no{% endif %}{% if nothing or empty or [] or {} or 0 or 0.0 %}no{% else %}falsy{% endif %}",
    "for_loop": "{% for w in words %}{{ loop.index }}/{{ loop.length }} {{ loop.index0 }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }} {{ loop.previtem }}<{{ w }}>{{ loop.nextitem }} {{ loop.cycle('o', 'e') }} {{ loop.depth }}{{ loop.depth0 }}\n{% endfor %}",
    "for_else": "{% for a in [] %}x{% else %}none{% endfor %}{% for a in [1] %}x{% break %}{% else %}none{% endfor %}{% for a in [1, 2] %}x{% if a == 2 %}{% break %}{% endif %}{% else %}none{% endfor %}{% for a in missing %}x{% else %}undefined{% endfor %}",
    "for_if": "{% for p in people if p.age > 30 %}{{ loop.index }}:{{ p.name }}{{ ',' if not loop.last }}{{ loop.length }}{% else %}none{% endfor %}|{% for p in people if p.age > 99 %}x{% else %}none{% endfor %}",
    "for_unpack": "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for (a, b), c in [[[1, 2], 3]] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "for_string": "{% for c in uni %}{{ c }}.{% endfor %}{% for k in d %}{{ k }}.{% endfor %}{% for a in 1, 2, 3 %}{{ a }}{% endfor %}",
    "for_break": "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i > 5 %}{% break %}{% endif %}{{ i }}{{ '!' if loop.last }}{% endfor %}",
    "for_nested": "{% for a in nested %}{% set outer = loop %}{% for b in a %}{{ outer.index }}.{{ loop.index }} {% endfor %}{% endfor %}{{ loop is defined }}",
    "for_changed": "{% for p in people %}{% if loop.changed(p.age) %}[{{ p.age }}]{% endif %}{{ p.name }}{% endfor %}",
    "for_lazy_filter": "{% set ns = namespace(stop=false) %}{% for i in numbers if not ns.stop %}{{ i }}{% if i == 1 %}{% set ns.stop = true %}{% endif %}{% endfor %}",
    "set_scope": "{% set a = 1 %}{% for i in [1, 2] %}{{ a }}{% set a = a + i %}{{ a }} {% endfor %}{{ a }}{% if yes %}{% set a = 9 %}{% endif %}{{ a }}",
    "set_tuple": "{% set a, b = 1, 'two' %}{{ a }}{{ b }}{% set (c, d2) = [3, 4] %}{{ c + d2 }}{% set t = 1, %}{{ t }}",
    "set_block": "{% set block %}  a {{ n }}\n b{% set inner = 1 %}{% endset %}[{{ block }}]{{ inner is defined }}{% set up | upper | trim %} x {{ s }} {% endset %}[{{ up }}]",
    "namespace": "{% set ns = namespace(a=1, b='x') %}{% for i in numbers %}{% set ns.a = ns.a + i %}{% set ns.c = i %}{% endfor %}{{ ns.a }} {{ ns.b }} {{ ns.c }} {{ ns['a'] }} {{ ns.none is defined }} {{ ns }}",
    "namespace_dict": "{% set ns = namespace({'k': 2}, j=3) %}{{ ns.k + ns.j }}{% set ns.k, q = 5, 6 %}{{ ns.k }}{{ q }}",
    "macro": "{% macro f(a, b=2, c='x' ~ b) %}({{ a }},{{ b }},{{ c }}){% endmacro %}{{ f(1) }}{{ f(1, c=3) }}{{ f(b=5, a=4) }}{{ f() }}{{ f(1, 2, 3) | upper }}{{ f.name }}{{ f.arguments }}",
    "macro_rest": "{% macro f(a) %}{{ a }}|{{ varargs }}|{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, k=4) }}{% set args = [1, 2] %}{{ f(*args, **{'z': 1}) }}",
    "macro_scope": "{% set a = 1 %}{% macro f() %}{{ a }}{{ n }}{% set a = 5 %}{{ a }}{% endmacro %}{{ f() }}{{ a }}{% set a = 2 %}{{ f() }}",
    "macro_recursive": "{% macro tree(v) %}{% if v is number %}{{ v }}{% else %}[{% for x in v %}{{ tree(x) }}{{ ' ' if not loop.last }}{% endfor %}]{% endif %}{% endmacro %}{{ tree(nested) }}",
    "macro_errors": "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "macro_keyword_error": "{% macro f(a) %}{% endmacro %}{{ f(b=2) }}",
    "call": "{% macro box(t) %}<{{ t }}>{{ caller() }}</{{ t }}>{% endmacro %}{% call box('b') %}in {{ n }}{% endcall %}",
    "call_arguments": "{% macro each(l) %}{% for i in l %}{{ caller(i, loop.index) }}{% endfor %}{% endmacro %}{% call(i, k=0) each(words) %}{{ k }}{{ i }} {% endcall %}",
    "filter_block": "{% filter upper | replace('O', '0') %}foo {{ s }}{% endfilter %}",
    "with": "{% with a = 1, b = n %}{{ a + b }}{% set c = 3 %}{% endwith %}{{ a is defined }}{{ c is defined }}{% with %}{% set z = 1 %}{{ z }}{% endwith %}",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% set q = 1 %}{% endgeneration %}\n{% endif %}{{ q is defined }}{% endfor %}",
    "print": "{% print n, s %}", "strftime": "{{ strftime_now('%d %b %Y %H:%M %%') }}", "raise": "{{ raise_exception('No ' ~ n) }}",
    "special_tokens": "{{ bos_token }}{{ eos_token }}{{ pad_token is defined }}{{ add_generation_prompt }}{{ tools is none }}{{ documents }}",
    "reasoning": "{% for m in messages %}{{ m.role }}{{ m.thinking }}{{ m.reasoning_content }}{{ m.name is defined }} {% endfor %}",
    "unknown_filter_unused": "{% if n == 0 %}{{ n | from_json }}{{ n is whatever }}{% endif %}fine", "unknown_filter": "{{ n | from_json }}",
    "unknown_tag": "{% foo %}", "unclosed_if": "{% if n %}x", "unclosed_tag": "{{ n", "unclosed_comment": "{# n", "unclosed_raw": "{% raw %}x",
    "bad_end": "{% if n %}{% endfor %}", "bad_brackets": "{{ (n] }}", "bad_expression": "{{ n n }}", "empty_expression": "{{ }}",
    "bad_break": "{% break %}", "bad_string": "{{ 'abc }}", "assign_constant": "{% set true = 1 %}", "assign_loop": "{% for loop in n %}{% endfor %}",
}

# Expressions, printed one by one.
EXPRESSIONS = """
1 + 2 * 3 - 4 / 2 | 7 // 2 | -7 // 2 | 7 % 3 | -7 % 3 | 7 % -3 | 7.5 % 2 | -7.5 // 2 | 2 ** 10 | 2 ** 3 ** 2 | 2 ** -1 | -2 ** 2 | 1 / 0 | 1 % 0 | 1 // 0.0
1_000 + 0x_ff + 0o17 + 0b101 | 1.5e3 | 1e-7 | 1e16 | 123456789012345680.0 | 0.1 + 0.2 | 1.0 | 100.0 / 3 | 5e-324 | 1e308 * 10 | -(1e308 * 10) | +n | - -n | not n | 3.0 * 2
'a' 'b' "c" | 'it\\'s' | "tab\\tnew\\nline" | '\\x41\\u00e9\\U0001F600\\101\\q' | 'a' + 'b' | 'ab' * 3 | 3 * 'ab' | 'a' + 1 | [1] + [2] | (1,) + (2,) | [1] * 2 | 'a' ~ 1 ~ none ~ 1.0 ~ true ~ [1, 'x'] | 'a' * -1
n == 7 | n == 7.0 | true == 1 | 'a' == 'a' | [1, 2] == [1, 2] | (1,) == [1] | {'a': 1} == {'a': 1.0} | missing == missing2 | missing == none | none == none | 1 != 2 | 'a' < 'b' | 'Z' < 'a' | [1, 2] < [1, 3] | 1 < 'a' | none < 1 | 1 < 2 < 3 | 1 < 3 < 2 | 1 < 2 == 2 | 'é' > 'z'
'ell' in s | 'x' not in s | 1 in numbers | 9 not in numbers | 'a' in d | 'two' in d.values() | 1 in 5 | 'x' in missing | 1 in 'abc' | none in [none] | '' in s
true and 'x' | '' or 'y' | 0 and missing.foo | 1 or missing.foo | not true and false | not (true and false) | not 1 == 2 | yes is true and n is number | none or empty
n if yes | n if not yes | n if yes else s | (n if not yes else 'b' if false else 'c') | (n if not yes) is defined | ('a' if yes else 'b') ~ 'c' | 'a' if yes else 'b' ~ 'c'
[] | [1, 'a', none, true, 1.5, [2], (3,), {'k': 'v'}] | () | (1,) | (1, 2) | {} | {'a': 1, 2: 'b', none: [], true: 1} | {1: 'a', true: 'b', 1.0: 'c'} | [1, 2,] | {'a': 1,} | {[1]: 2}
"it's" | ["it's"] | ['say "hi"'] | ['it\\'s "x"'] | ['\\n\\t\\r\\\\\\x00\\x7f'] | [uni] | ['\\u200b\\u00a0'] | [''] | nothing | missing | [missing] | [missing.x] | range(3) | range(1, 7, 2) | d.keys() | d.items() | d.values()
words[0] | words[-1] | words[9] | words[9] is defined | words['0'] | words[1:3] | words[:-1] | words[::-1] | words[::2] | words[5:] | words[-3:-1] | words[3:0:-1] | words[::0] | s[0] | s[-1] | s[7:] | s[8] | uni[::-1] | uni[2:4] | uni[-3:] | range(10)[2:5][1] | (1, 2, 3)[1:] | words[1.0] | words[none] | words[true] | d['a'] | d['zz'] | d[1] | d['a':'b'] | nested[1][1][0] | nested.1.0 | numbers.0
d.a | d.b | d['items'] | d.zz | d.zz.yy | d.get('a') | d.get('zz') | d.get('zz', 5) | d.get('zz') is none | d.keys() | list | d.copy() | people[0].home.city | people[2].home.city | nothing.foo | nothing.foo.bar | missing.foo | missing['foo'] | missing[0] | s.foo | s.foo.bar | n.foo | people[0]['home']['city']
''.__class__ | ''.__class__.__mro__ | ''['__class__'] | [].append | [].append(1) | {}.update({'a': 1}) | d.pop('a') | d.clear() | words.sort() | words.insert(0, 1) | namespace(a=1).__class__ | namespace(_a=1) | d.setdefault('q', 1) | words.copy() | words.count('beta') | words.index('gamma') | words.index('zz') | s.__len__() | range.__init__ | loop | caller
s.upper() | s.lower() | s.title() | s.capitalize() | s.swapcase() | s.strip('Hd') | text.strip() | text.lstrip() | text.rstrip() | text.split() | text.split('\\n') | s.split(', ') | s.split('l', 1) | s.rsplit('l', 1) | text.splitlines() | text.splitlines(true) | s.split('') | text.split(none, 1) | text.rsplit(none, 1) | 'a,b,,c'.split(',') | ''.split() | ''.split(',') | 'a'.split('abc')
s.startswith('Hell') | s.startswith(('x', 'H')) | s.endswith('d') | s.endswith(['d']) | s.find('l') | s.find('zz') | s.rfind('l') | uni.find('日') | s.index('zz') | s.count('l') | s.count('') | s.replace('l', 'L') | s.replace('l', 'L', 1) | s.replace('', '-') | ''.replace('', 'x') | s.startswith('e', 1) | s.find('l', 4) | s.find('l', 0, 3) | s.find('', 99) | uni.index('e') | s.partition(', ') | s.rpartition('l') | s.partition('zz') | s.removeprefix('Hello') | s.removesuffix('d') | s.removeprefix('x')
'-'.join(words) | '-'.join('abc') | '-'.join([1]) | ''.join([]) | 'a'.center(5, '*') | 'ab'.center(5) | 'abc'.center(6, '.') | 'a'.ljust(3, '.') ~ '|' | 'a'.rjust(3) | '-7'.zfill(5) | '42'.zfill(1) | 'a\\tbc\\td'.expandtabs(4) | 'abc'.isalpha() | 'a1'.isalnum() | '12'.isdigit() | '²'.isdigit() | '²'.isdecimal() | '½'.isnumeric() | ' \\t'.isspace() | ''.isspace() | 'abc'.islower() | 'ABC1'.isupper() | '1'.isupper() | 'Ab Cd'.istitle() | 'aB'.istitle() | 'a_1'.isidentifier() | '1a'.isidentifier() | 'ab'.isascii() | uni.isascii() | 'a\\n'.isprintable()
'straße'.upper() | 'ŉ ǆ ﬁ ΐ'.upper() | 'ǆ ﬁx'.title() | 'İ ΑΣ ΑΣΑ'.lower() | 'ΣΑΣ Σ'.title() | 'ßa'.capitalize() | 'ÀÉ'.lower() | 'éa'.swapcase() | 'они'.title() | "they're bill's".title() | "they're bill's" | title | 'ab-cd (ef) [gh' | title | 'x1y z'.title() | 'foo bar' | capitalize | s | upper | s | lower
'{} and {}'.format(1, 'b') | '{1}{0}{1}'.format('a', 'b') | '{a.city}{b[0]}'.format(a={'city': 1}, b=[2]) | '{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd') | '{:05d} {:+d} {: d} {:,} {:x} {:#X} {:b} {:o} {:c}'.format(42, 42, 42, 1234567, 255, 255, 5, 8, 65) | '{:.2f} {:10.3f}| {:e} {:g} {:%} {:+.1f}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.5, 2.25) | '{!r} {!s}'.format('a', 'b') | '{{}}'.format() | '{}'.format() | '{0'.format(1) | '{:{}}|'.format('a', 5) | '{:.2}'.format('abc') | '{:d}'.format('a') | '{x}'.format_map({'x': 1}) | '{0.__class__}'.format('a') | '{:_}'.format(1234567) | '{:,.2f}'.format(1234567.891)
'%s-%d-%05.2f' % ('a', 3, 2.5) | '%s' % 'x' | '%(a)s' % {'a': 1} | '%%' % () | '%x %X %o %e %g %c' % (255, 255, 8, 1.5, 1e10, 'z') | '%5s|%-5s|%05d|%+d' % ('a', 'b', 7, 7) | '%.2s' % 'abc' | '%*d' % (5, 3) | '%d' % 'a' | '%s %s' % ('a',) | '%s' % ('a', 'b') | '%r' % 'a' | '%s' % [1, 2] | '%i' % 3.9 | '%q' % 1 | 'no' % 1
s | length | words | count | d | length | empty | length | missing | length | n | length | none | length | range(5) | length | uni | length | words | first | words | last | '' | first | '' | last | [] | first is defined | d | first | s | first | s | last | missing | first | (words | map('upper')) | last
words | join | words | join(', ') | numbers | join('-') | people | join(', ', attribute='name') | people | map(attribute='name') | list | people | map(attribute='home.city') | list | people | map(attribute='home.city', default='?') | list | people | map(attribute='zip', default='?') | join | words | map('upper') | list | words | map('replace', 'a', 'A') | join('|') | numbers | map('string') | list | words | map('nope') | list | words | map | list | nested | map('first') | list | nested | map(attribute=1) | list | nested | map('join', '+') | list
numbers | select('odd') | list | numbers | reject('odd') | list | numbers | select('gt', 1) | list | words | select | list | [0, '', 1] | select | list | [0, '', 1] | reject | list | people | selectattr('age', 'equalto', 31) | map(attribute='name') | list | people | rejectattr('home') | map(attribute='name') | join | people | selectattr('home') | list | length | people | selectattr('home', 'defined') | list | length | people | selectattr('home.city', 'eq', 'Oslo') | list | people | selectattr('age', 'in', [25]) | map(attribute='name') | list | missing | select | list | words | select('in', ['beta']) | list | numbers | select('nope') | list | people | selectattr | list | (words | select('eq', 'zz')) is true
words | sort | words | sort(reverse=true) | words | sort(case_sensitive=true) | numbers | sort | people | sort(attribute='age') | map(attribute='name') | list | people | sort(attribute='age,name', reverse=true) | map(attribute='name') | list | ['a', 1] | sort | words | unique | list | numbers | unique | list | words | unique(true) | list | people | unique(attribute='age') | map(attribute='name') | list | words | reverse | list | s | reverse | (1, 2) | reverse | list | d | dictsort | d | dictsort(true) | {'b': 2, 'a': 3} | dictsort(by='value') | {'b': 2, 'a': 3} | dictsort(reverse=true) | words | min | words | max | numbers | max | [] | max | numbers | sum | people | sum(attribute='age') | [1.5, 2] | sum(start=1) | ['a'] | sum
numbers | batch(3) | list | numbers | batch(3, 0) | list | numbers | slice(3) | list | numbers | slice(3, 'x') | list | people | groupby('age') | map(attribute='grouper') | list | people | groupby('age') | map(attribute='list') | map('length') | list | people | groupby('home.city', default='?') | map('first') | list | (people | groupby('age'))[0].grouper | d | items | list | missing | items | list | n | items | list | {'a': 1} | items | first
text | trim | s | trim('Hd') | s | replace('l', 'L') | s | replace('l', 'L', 1) | n | replace(7, 8) | s | default('x') | missing | default('x') | missing | default | empty | default('x') | empty | default('x', true) | nothing | default('x') | none | d('x', boolean=true) | missing.foo | default('x') | d.zz | default('x') | '42' | int | ' -4_2 ' | int | '4.9' | int | 'x' | int | 'x' | int(5) | '0x1f' | int(0, 16) | '1f' | int(base=16) | '0b11' | int(base=0) | 3.99 | int | none | int | '1e3' | int | '3.5' | float | 'x' | float | 'x' | float(1) | ' inf ' | float | 7 | float | true | int | missing | int
n | string | 1.0 | string | none | string | words | string | n | abs | x | abs | -3 | abs | 'a' | abs | 2.5 | round | 3.5 | round | 2.675 | round(2) | 42.55 | round(1, 'floor') | 42.55 | round(1, 'ceil') | 1234 | round(-2) | 7 | round | 1.5 | round(0, 'nope') | -0.5 | round | s | center(20) ~ '|' | 'a b  c' | wordcount | s | list | d | list | n | list | text | indent | text | indent(2, true) | text | indent('> ', blank=true) | 'foo bar baz qux' | truncate(9) | 'foo bar baz qux' | truncate(9, true) | 'foo bar baz qux' | truncate(11) | 'foo bar baz qux' | truncate(11, false, '..', 0) | '%s %s' | format('a', 1) | '%(a)s' | format(a=2) | 'a b/c?&ü' | urlencode | {'a': 1, 'b c': 'd&'} | urlencode | 1234567 | filesizeformat | 1234567 | filesizeformat(true) | 1 | filesizeformat
'<a href="x">\\'&' | e | '<b>' | safe | ('<b>' | safe) ~ '<i>' | ('<b>' | safe) + '<i>' | '<i>' + ('<b>' | safe) | '<' | escape | escape | '<' | safe | escape | '<' | forceescape | [('<' | safe)] | d | attr('items') is callable | d | attr('a') is defined | s | attr('upper') is callable
d | tojson | [1, 2.0, none, true, 'a"b\\\\\\n\\u2028é<>&\\''] | tojson | d | tojson(indent=2) | nested | tojson(indent=1) | {} | tojson(indent=2) | [] | tojson(indent=2) | {'b': 1, 'a': 2} | tojson(sort_keys=true) | uni | tojson(ensure_ascii=true) | [1, 2] | tojson(separators=(',', ':')) | {1: 2, none: 3, true: 4, 1.5: 5} | tojson | missing | tojson | (1, 2) | tojson | range(3) | tojson | d.keys() | tojson | 1e16 | tojson | 1e308 * 10 | tojson | '\\x00\\x1f\\x7f' | tojson | {(1, 2): 3} | tojson | d | tojson(indent='--') | (words | map('upper')) | tojson | namespace(a=1) | tojson | {'k': [{'z': {}}]} | tojson(indent=4)
n is defined | missing is defined | missing is undefined | nothing is none | nothing is not none | s is string | n is string | d is mapping | words is mapping | words is iterable | s is iterable | n is iterable | words is sequence | d is sequence | s is sequence | n is sequence | missing is sequence | missing is iterable | d.items() is sequence | d.items() is iterable | (words | map('upper')) is iterable | (words | map('upper')) is sequence | n is number | x is number | yes is number | s is number | n is integer | yes is integer | x is integer | x is float | n is float | yes is boolean | n is boolean | yes is true | n is true | false is false | 0 is false
n is odd | n is even | n is divisibleby 7 | n is divisibleby(2) | n is eq 7 | n is equalto(7) | n is ne 7 | n is gt 3 | n is lessthan 3 | n is ge 7 | n is le 6 | n is in numbers | n is in [7] | n is not in [7] | s is lower | 'abc' is lower | 'ABC' is upper | s.upper is callable | n is callable | n is sameas n | none is sameas none | 1 is sameas true | 'upper' is filter | 'nope' is filter | 'odd' is test | n is == 7 | s is escaped | (s | safe) is escaped | n is odd and yes is true | n is not odd or yes | 'a' is in 'abc' | 2.0 is even
range(5) | list | range(2, 8, 3) | list | range(5, 0, -2) | list | range(0) | list | range(100001) | range(1, 2, 0) | range(3)[1] | 2 in range(3) | range('a') | dict(a=1, b=2) | dict([('a', 1)], c=3) | dict({'x': 1}) | dict([1]) | dict() | namespace() | namespace(a=1).a | lipsum is defined | range is callable | raise_exception is defined | strftime_now('%Y') | n() | s() | missing() | d.missing() | s.upper(1) | s.upper | length
(words | map('upper') | list)[0] | (d.items() | list)[0][1] | d.items() | first | (d.keys() | list)[0] | d.values() | list | words | length > 3 | words|length - 1 | (words|length) * 2 | -n | abs | not words | length == 4 | n ~ s | upper | (n ~ s) | upper | [1, 2, 3] | sum / 2 | s[:5] | upper ~ '!' | words[n - 6] | words[words | length - 1] | d['C'][1] | {'a': {'b': [10, 20]}}.a.b[1] | 'abc'[1:] ~ 'abc'[:1] | [[1]] [0] [0] | 'x' in ['x'] and 'y' in ['x'] | 'x' ~ ('y' if n > 3 else 'z') ~ 'w' | messages[0].role | messages | length | messages[-1]['content'] | messages[1:] | map(attribute='role') | list | (messages | selectattr('role', 'equalto', 'user') | list | last).content
"""

MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi ☺"},
            {"role": "assistant", "content": "Hello!", "thinking": "greet", "name": None}, {"role": "user", "content": "Bye"}]


def expressions() -> list[str]:
    """Split at ' | ' is ambiguous with filters; so lines are joined back where a part is the name of a filter."""
    from jinja2.filters import FILTERS
    found: list[str] = []
    for line in EXPRESSIONS.strip().splitlines():
        parts, row = line.split(" | "), []
        for part in parts:
            name = part.split("(")[0].split(" ")[0].split("[")[0].rstrip(")")
            if row and (name in FILTERS or name in ("nope", "from_json")) and name not in ("d",):
                row[-1] += " | " + part
            elif row and row[-1].count("(") > row[-1].count(")"):
                row[-1] += " | " + part
            elif row and part.startswith("d('x'"):
                row[-1] += " | " + part
            else:
                row.append(part)
        found += row
    return found


def cases() -> list[tuple[str, str]]:
    return list(STATEMENTS.items()) + [(f"e{i}: {e}", "{{ " + e + " }}") for i, e in enumerate(expressions())]
