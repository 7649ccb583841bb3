// The expressions of the template language: the lower half of the parser, with jinja2's order of operators.
#pragma once
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/chat_template_ast.h"
#include "tokenizer/chat_template_lexer.h"

namespace octavo::chat {

class ExpressionParser {
 protected:
  ExpressionParser(std::vector<Token> tokens, const std::string& name)
      : tokens_(std::move(tokens)), name_(name) {}

  [[noreturn]] void fail(const std::string& problem) const { fail_at(name_, current().line, problem); }

  const Token& current() const { return tokens_[at_]; }
  const Token& look() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool is(Token::Kind kind) const { return current().kind == kind; }
  bool is_op(std::string_view op) const { return is(Token::Kind::op) && current().text == op; }
  bool is_name(std::string_view name) const { return is(Token::Kind::name) && current().text == name; }
  bool skip_op(std::string_view op) { return is_op(op) && (next(), true); }
  bool skip_name(std::string_view name) { return is_name(name) && (next(), true); }
  const Token& expect(Token::Kind kind, std::string_view what);
  void expect_op(std::string_view op);
  void expect_name(std::string_view name);

  // Several expressions with commas between them are a tuple. `ends`: names behind which nothing follows.
  ExprPtr tuple_or_expression(bool with_conditional = true, const std::vector<std::string_view>& ends = {},
                              bool in_parentheses = false);
  ExprPtr expression(bool with_conditional = true);
  // |a|b(1) behind `subject`; with `inline_start` the first filter has no bar.
  ExprPtr filters(ExprPtr subject, bool inline_start = false);

  static bool is_constant_name(std::string_view name);
  void use(const std::string& name) { used_names_.insert(name); }

  // Refuses expressions that would make the interpreter recurse too deep.
  struct DepthGuard {
    explicit DepthGuard(ExpressionParser& parser);
    ~DepthGuard() { --parser_.open_; }
    ExpressionParser& parser_;
  };

  std::set<std::string> used_names_;  // that are read since the macro began
  int optional_ = 0;                  // inside of how many branches that may not be taken

 private:
  ExprPtr conditional();
  ExprPtr disjunction();
  ExprPtr conjunction();
  ExprPtr negation();
  ExprPtr comparison();
  ExprPtr sum();
  ExprPtr concatenation();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool with_filters = true);
  ExprPtr primary();
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr e);
  ExprPtr filters_and_tests(ExprPtr e);
  ExprPtr subscript(ExprPtr e);
  ExprPtr slice_or_expression();
  ExprPtr call(ExprPtr e);
  ExprPtr test(ExprPtr e);
  Arguments arguments();
  void add_arguments(Expr& e);
  void refuse_unless_optional(const char* what, const std::string& name, int line) const;

  ExprPtr make(ExprKind kind, int line, std::string text = {}) const;
  void add(Expr& parent, ExprPtr part) const;  // and keeps account of the depth
  template <class Next>
  ExprPtr chain(ExprKind kind, Next next_operand, std::string_view name_between);
  ExprPtr binary(ExprPtr (ExpressionParser::*operand)(), std::initializer_list<std::string_view> operators);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  const std::string& name_;
  int open_ = 0;
};

}  // namespace octavo::chat
