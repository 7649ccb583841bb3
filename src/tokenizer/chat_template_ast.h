// What a parsed template is. Built by chat_template_parser, walked by chat_template_interpreter.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/chat_template_value.h"

namespace octavo::chat {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr rest;        // *rest, or null
  ExprPtr named_rest;  // **named_rest, or null
};

enum class ExprKind {
  constant,     // value
  name,         // text
  list,         // parts
  tuple,        // parts
  dict,         // parts: key, value, key, value, ...
  attribute,    // parts[0].text
  item,         // parts[0][parts[1]]
  slice,        // parts: start, stop, step, each may be null; only as parts[1] of item
  call,         // parts[0](arguments)
  filter,       // parts[0]|text(arguments); parts[0] is null at the head of a filter block
  test,         // parts[0] is text(arguments)
  negate,       // -parts[0]
  plus,         // +parts[0]
  not_,         // not parts[0]
  and_,         // parts[0] and parts[1] and ...
  or_,          // parts[0] or parts[1] or ...
  binary,       // parts[0] text parts[1] text ...: + - * / // % **, from left to right (operators)
  concat,       // parts[0] ~ parts[1] ~ ...
  compare,      // parts[0] operators[0] parts[1] operators[1] parts[2] ...
  conditional,  // parts[0] if parts[1] else parts[2], which may be null
};

struct Expr {
  ExprKind kind = ExprKind::constant;
  int line = 1;
  int depth = 1;  // of nested expressions
  Value value;
  std::string text;
  std::vector<ExprPtr> parts;
  std::vector<std::string> operators;
  Arguments arguments;
};

// Where a value is stored: a name, an attribute of a namespace, or several of both.
struct Target {
  enum class Kind { name, attribute, tuple } kind = Kind::name;
  std::string name, attribute;
  std::vector<Target> parts;
};

struct Statement;
using Block = std::vector<Statement>;

struct Parameter {
  std::string name;
  ExprPtr fallback;  // or null
};

// A macro, and the body of a call block.
struct MacroCode {
  std::string name;
  std::vector<Parameter> parameters;
  bool takes_rest = false, takes_named_rest = false, takes_caller = false;  // as its body uses them
  std::unique_ptr<Block> body;
};

enum class StatementKind {
  text,
  print,
  if_,
  for_,
  set,
  set_block,
  macro,
  call,
  filter,
  with,
  scope,
  break_,
  continue_
};

struct Statement {
  StatementKind kind = StatementKind::text;
  int line = 1;
  std::string text;  // of text
  // print: what; if: conditions; for: iterable, then the filter or null; set: value; set_block: filters or null;
  // call: the call; filter: the filters; with: values
  std::vector<ExprPtr> expressions;
  std::vector<Target> targets;       // for, set, set_block, with
  std::vector<Block> blocks;         // if: one for each condition, then else; for: body, else; others: body
  std::unique_ptr<MacroCode> macro;  // macro; call: the caller
};

}  // namespace octavo::chat
