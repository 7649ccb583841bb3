#include "tokenizer/chat_template_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "tokenizer/chat_template_builtins.h"
#include "tokenizer/chat_template_expressions.h"
#include "tokenizer/chat_template_lexer.h"

namespace octavo::chat {
namespace {

using Kind = Token::Kind;

constexpr int kDeepestBlocks = 60;

class Parser : public ExpressionParser {
 public:
  Parser(std::vector<Token> tokens, const std::string& name) : ExpressionParser(std::move(tokens), name) {}

  ParsedTemplate run() {
    ParsedTemplate parsed;
    parsed.body = block({});
    return parsed;
  }

 private:
  using Ends = std::vector<std::string_view>;

  // Statements up to one of `ends`, whose name is then the current token; without ends to the end of the template.
  Block block(const Ends& ends) {
    if (++open_blocks_ > kDeepestBlocks) fail(fmt::format("blocks nested deeper than {}", kDeepestBlocks));
    Block body;
    while (!is(Kind::end)) {
      if (is(Kind::block_begin)) {
        next();
        if (is(Kind::name) && std::find(ends.begin(), ends.end(), current().text) != ends.end()) {
          --open_blocks_;
          return body;
        }
        body.push_back(statement(ends));
        expect(Kind::block_end, "'%}'");
      } else {
        body.push_back(output());
      }
    }
    if (!ends.empty()) fail(fmt::format("the template ends, but {} is missing", fmt::join(ends, " or ")));
    --open_blocks_;
    return body;
  }
  // The rest of a tag, a body, and the closing tag up to its '%}'.
  Block body_until(const Ends& ends) {
    skip_op(":");
    expect(Kind::block_end, "'%}'");
    return block(ends);
  }
  Block whole_body(std::string_view end) {
    Block body = body_until({end});
    next();
    return body;
  }

  Statement output() {
    Statement s = at_line(StatementKind::text);
    if (is(Kind::data)) {
      s.text = next().text;
      return s;
    }
    expect(Kind::variable_begin, "'{{'");
    s.kind = StatementKind::print;
    s.expressions.push_back(tuple_or_expression());
    expect(Kind::variable_end, "'}}'");
    return s;
  }

  Statement at_line(StatementKind kind) {
    Statement s;
    s.kind = kind, s.line = current().line;
    return s;
  }

  Statement statement(const Ends& ends) {
    if (!is(Kind::name)) fail(fmt::format("a tag name is expected, not {}", describe(current())));
    const std::string tag = current().text;
    if (tag == "if") return if_statement();
    if (tag == "for") return for_statement();
    if (tag == "set") return set_statement();
    if (tag == "macro") return macro_statement();
    if (tag == "call") return call_statement();
    if (tag == "filter") return filter_statement();
    if (tag == "with") return with_statement();
    if (tag == "print") return print_statement();
    if (tag == "generation") return generation_statement();
    if (tag == "break" || tag == "continue") return jump_statement(tag);
    for (const std::string_view unsupported : {"block", "extends", "include", "import", "from", "autoescape"})
      if (tag == unsupported) fail(fmt::format("the tag {} is not supported in chat templates", tag));
    if (!ends.empty())
      fail(fmt::format("unknown tag {}; {} is expected to close a block", repr_of(tag),
                       fmt::join(ends, " or ")));
    fail(fmt::format("unknown tag {}", repr_of(tag)));
  }

  Statement if_statement() {
    Statement s = at_line(StatementKind::if_);
    while (true) {
      next();  // if, elif
      s.expressions.push_back(tuple_or_expression(false));
      ++optional_;
      s.blocks.push_back(body_until({"elif", "else", "endif"}));
      --optional_;
      if (!is_name("elif")) break;
    }
    ++optional_;
    if (next().text == "else") s.blocks.push_back(whole_body("endif"));
    --optional_;
    return s;
  }

  Statement for_statement() {
    Statement s = at_line(StatementKind::for_);
    next();
    s.targets.push_back(target({"in"}, false));
    if (sets_loop(s.targets[0])) fail("a loop cannot assign to its own variable loop");
    expect_name("in");
    s.expressions.push_back(tuple_or_expression(false, {"recursive"}));
    s.expressions.push_back(skip_name("if") ? expression() : nullptr);
    if (is_name("recursive")) fail("recursive loops are not supported; use a macro that calls itself");
    ++open_loops_;
    s.blocks.push_back(body_until({"else", "endfor"}));
    --open_loops_;
    s.blocks.push_back(next().text == "else" ? whole_body("endfor") : Block());
    return s;
  }
  static bool sets_loop(const Target& t) {
    return t.name == "loop" || std::any_of(t.parts.begin(), t.parts.end(), sets_loop);
  }

  Statement set_statement() {
    Statement s = at_line(StatementKind::set);
    next();
    s.targets.push_back(target({}, true));
    if (skip_op("=")) {
      s.expressions.push_back(tuple_or_expression());
      return s;
    }
    s.kind = StatementKind::set_block;
    s.expressions.push_back(is_op("|") ? filters(nullptr) : nullptr);
    s.blocks.push_back(whole_body("endset"));
    return s;
  }

  // Name, namespace.attribute (where allowed), or several in a tuple.
  Target target(const Ends& ends, bool with_attributes) {
    Target all;
    all.kind = Target::Kind::tuple;
    bool several = false;
    while (true) {
      const bool ended =
          is(Kind::block_end) || is_op(")") || is_op("=") ||
          (is(Kind::name) && std::find(ends.begin(), ends.end(), current().text) != ends.end());
      if (ended && several) break;
      all.parts.push_back(one_target(with_attributes));
      if (!skip_op(",")) break;
      several = true;
    }
    if (several) return all;
    return std::move(all.parts[0]);
  }
  Target one_target(bool with_attributes) {
    const DepthGuard guard(*this);
    if (skip_op("(")) {
      Target inner = target({}, with_attributes);
      expect_op(")");
      return inner;
    }
    if (!is(Kind::name)) fail(fmt::format("cannot assign to {}", describe(current())));
    Target t;
    t.name = next().text;
    if (is_constant_name(t.name)) fail(fmt::format("cannot assign to {}", t.name));
    if (with_attributes && skip_op(".")) {
      t.kind = Target::Kind::attribute;
      t.attribute = expect(Kind::name, "an attribute").text;
      use(t.name);
    }
    return t;
  }

  void parameters(MacroCode& macro) {
    expect_op("(");
    while (!is_op(")")) {
      if (!macro.parameters.empty()) expect_op(",");
      Parameter p;
      p.name = expect(Kind::name, "a parameter").text;
      if (skip_op("="))
        p.fallback = expression();
      else if (!macro.parameters.empty() && macro.parameters.back().fallback)
        fail(fmt::format("parameter {} has no default value, but the one before it has", p.name));
      macro.parameters.push_back(std::move(p));
    }
    expect_op(")");
  }

  // The body of a macro, call block or generation block: a function, out of which no loop can be left.
  void macro_body(MacroCode& macro, std::string_view end) {
    const int loops_outside = std::exchange(open_loops_, 0);
    std::set<std::string> outer = std::exchange(used_names_, {});
    macro.body = std::make_unique<Block>(whole_body(end));
    macro.takes_rest = used_names_.count("varargs") > 0;
    macro.takes_named_rest = used_names_.count("kwargs") > 0;
    macro.takes_caller = used_names_.count("caller") > 0;
    used_names_.insert(outer.begin(), outer.end());
    open_loops_ = loops_outside;
  }

  Statement macro_statement() {
    Statement s = at_line(StatementKind::macro);
    next();
    s.macro = std::make_unique<MacroCode>();
    s.macro->name = expect(Kind::name, "the macro's name").text;
    parameters(*s.macro);
    macro_body(*s.macro, "endmacro");
    return s;
  }

  Statement call_statement() {
    Statement s = at_line(StatementKind::call);
    next();
    s.macro = std::make_unique<MacroCode>();
    s.macro->name = "caller";
    if (is_op("(")) parameters(*s.macro);
    s.expressions.push_back(expression());
    if (s.expressions[0]->kind != ExprKind::call) fail("a call block needs a call");
    macro_body(*s.macro, "endcall");
    return s;
  }

  Statement generation_statement() {
    Statement s = at_line(StatementKind::scope);
    next();
    MacroCode body;
    macro_body(body, "endgeneration");
    s.blocks.push_back(std::move(*body.body));
    return s;
  }

  Statement filter_statement() {
    Statement s = at_line(StatementKind::filter);
    next();
    s.expressions.push_back(filters(nullptr, true));
    s.blocks.push_back(whole_body("endfilter"));
    return s;
  }

  Statement with_statement() {
    Statement s = at_line(StatementKind::with);
    next();
    while (!is(Kind::block_end)) {
      if (!s.targets.empty()) expect_op(",");
      s.targets.push_back(target({}, false));
      expect_op("=");
      s.expressions.push_back(expression());
    }
    s.blocks.push_back(whole_body("endwith"));
    return s;
  }

  Statement print_statement() {
    Statement s = at_line(StatementKind::print);
    next();
    while (!is(Kind::block_end)) {
      if (!s.expressions.empty()) expect_op(",");
      s.expressions.push_back(expression());
    }
    return s;
  }

  Statement jump_statement(const std::string& tag) {
    Statement s = at_line(tag == "break" ? StatementKind::break_ : StatementKind::continue_);
    if (open_loops_ == 0) fail(fmt::format("{} stands outside of a loop", tag));
    next();
    return s;
  }

  int open_blocks_ = 0, open_loops_ = 0;
};

}  // namespace

ParsedTemplate parse_template(std::string_view text, const std::string& name) {
  return Parser(tokenize(text, name), name).run();
}

}  // namespace octavo::chat
