#include "formats/json_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "formats/in_quotes.h"
#include "harness/expect_error.h"
#include "harness/temp_folder.h"

namespace octavo {
namespace {

using harness::expect_error;
using harness::TempFolder;
using nlohmann::json;

constexpr ErrorKind kBad = ErrorKind::bad_model;

TEST(JsonFile, ParsesWhatNlohmannParses) {
  const std::string text =
      R"({"a": [1, -2, 3.5, {"b": null, "c": [[], {}, [true, false]]}], "d": "é\u0041", "e": 18446744073709551615, "f": {}})";
  EXPECT_EQ(parse_json(text, "x"), json::parse(text));
  for (const char* scalar : {"1", "\"x\"", "null", "[]", "  {} \n"})
    EXPECT_EQ(parse_json(scalar, "x"), json::parse(scalar));
}

TEST(JsonFile, ErrorSaysFileAndPlace) {
  expect_error(kBad, "config.json: line 2, column 11: not valid JSON",
               [] { parse_json("{\n  \"a\": tru\n}", "config.json"); });
  expect_error(kBad, "not valid JSON", [] { parse_json("", "config.json"); });
  expect_error(kBad, "not valid JSON", [] { parse_json("{} {}", "config.json"); });
  expect_error(kBad, "not valid JSON", [] { parse_json("[1, 2", "config.json"); });
  expect_error(kBad, "NUL byte", [] { parse_json(std::string_view("{}\0x", 4), "config.json"); });
  expect_error(kBad, "not valid JSON", [] { parse_json("[1e999]", "config.json"); });
  expect_error(kBad, "UTF-8", [] { parse_json("[\"\xff\"]", "config.json"); });
}

TEST(JsonFile, ErrorTextHasNoControlBytesAndStaysShort) {
  const std::string text = "[\"" + std::string(100000, 'x') + "\x1b[31m\"]";
  try {
    parse_json(text, "f");
    FAIL();
  } catch (const Error& e) {
    EXPECT_LT(std::string_view(e.what()).size(), 400u);
    EXPECT_EQ(std::string_view(e.what()).find('\x1b'), std::string_view::npos);
  }
}

TEST(JsonFile, DuplicateKeysAreRefusedAtAnyDepth) {
  expect_error(kBad, "line 1, column 12: duplicate key \"a\"",
               [] { parse_json(R"({"a": 1, "a": 2})", "f"); });
  expect_error(kBad, "duplicate key \"b\"", [] { parse_json(R"({"a": [{"b": 1, "c": {}, "b": 1}]})", "f"); });
  expect_error(kBad, "duplicate key \"A\"", [] { parse_json(R"({"\u0041": 1, "A": 2})", "f"); });
  EXPECT_NO_THROW(parse_json(R"({"a": {"a": {"a": 1}}, "b": {"a": 1}})", "f"));
}

TEST(JsonFile, DepthIsLimited) {
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(parse_json(nested(64), "f"));
  expect_error(kBad, "deeper than 64", [&] { parse_json(nested(65), "f"); });
  expect_error(kBad, "deeper than 64", [&] { parse_json(nested(2'000'000), "f"); });
  expect_error(kBad, "deeper than 64", [&] { parse_json(std::string(2'000'000, '['), "f"); });
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  expect_error(kBad, "deeper than 64", [&] { parse_json(objects, "f"); });
}

TEST(JsonFile, SizeIsLimited) {
  TempFolder folder;
  const auto file = folder.write("a.json", "[1, 2, 3]");
  EXPECT_NO_THROW(read_json_file(file, {.max_bytes = 9}));
  expect_error(kBad, "9 bytes, the limit is 8", [&] { read_json_file(file, {.max_bytes = 8}); });
  expect_error(kBad, "9 bytes of JSON, the limit is 8",
               [&] { parse_json("[1, 2, 3]", "f", {.max_bytes = 8}); });
}

TEST(JsonFile, OnlyRegularFilesAreRead) {
  TempFolder folder;
  expect_error(kBad, "No such file", [&] { read_json_file(folder / "missing.json"); });
  expect_error(kBad, "not a regular file", [&] { read_json_file(folder.path()); });
  expect_error(kBad, "not a regular file", [] { read_json_file("/dev/zero"); });
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  expect_error(kBad, "not a regular file", [&] { read_json_file(folder / "fifo"); });
  expect_error(kBad, "NUL", [&] { read_json_file(folder / std::string("a\0b", 3)); });
}

ConfigObject config() {
  return ConfigObject::parse(
      R"({"n": 64, "big": 4294967296, "huge": 18446744073709551615, "neg": -1, "x": 0.5, "s": "abc", "t": true,
    "z": null, "list": [1, 2], "mixed": [1, "a"], "names": ["p", "q"], "o": {"k": 7, "inner": {"v": "w"}}})",
      "folder/config.json");
}

TEST(ConfigObject, ReadsValues) {
  const ConfigObject c = config();
  EXPECT_EQ(c.integer("n"), 64);
  EXPECT_EQ(c.integer("big", 1, int64_t{1} << 40), 4294967296);
  EXPECT_EQ(c.integer("neg", -1), -1);
  EXPECT_EQ(c.integer_or("absent", 5), 5);
  EXPECT_EQ(c.integer_or("z", 5), 5);
  EXPECT_EQ(c.integer_or("n", 5), 64);
  EXPECT_EQ(c.integers("list"), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(c.integers("n"), (std::vector<int64_t>{64}));
  EXPECT_TRUE(c.integers("absent").empty());
  EXPECT_EQ(c.number("x", 0, 1), 0.5);
  EXPECT_EQ(c.number("n", 0, 100), 64.0);
  EXPECT_EQ(c.number_or("absent", 0.25, 0, 1), 0.25);
  EXPECT_TRUE(c.boolean("t"));
  EXPECT_FALSE(c.boolean_or("absent", false));
  EXPECT_EQ(c.string("s"), "abc");
  EXPECT_EQ(c.string_or("absent", "d"), "d");
  EXPECT_EQ(c.strings("names"), (std::vector<std::string>{"p", "q"}));
  EXPECT_EQ(c.object("o").object("inner").string("v"), "w");
  EXPECT_FALSE(c.has("z"));
  EXPECT_EQ(c.object("o").keys(), (std::vector<std::string>{"inner", "k"}));
}

TEST(ConfigObject, ObjectsOutliveTheirParent) {
  const ConfigObject inner = config().object("o").object("inner");
  EXPECT_EQ(inner.string("v"), "w");
}

TEST(ConfigObject, ErrorsNameFileKeyValueAndExpectation) {
  const ConfigObject c = config();
  expect_error(kBad, "folder/config.json: \"s\" is \"abc\", expected an integer from 1 to 2147483647",
               [&] { c.integer("s"); });
  expect_error(kBad, "\"absent\" is missing, expected an integer", [&] { c.integer("absent"); });
  expect_error(kBad, "\"big\" is 4294967296, expected an integer from 1 to 2147483647",
               [&] { c.integer("big"); });
  expect_error(kBad, "\"huge\" is 18446744073709551615, expected",
               [&] { c.integer("huge", 0, std::numeric_limits<int64_t>::max()); });
  expect_error(kBad, "\"neg\" is -1, expected", [&] { c.integer("neg"); });
  expect_error(kBad, "\"x\" is 0.5, expected an integer", [&] { c.integer("x"); });
  expect_error(kBad, "\"mixed\" is [1,\"a\"], expected an integer from 0", [&] { c.integers("mixed"); });
  expect_error(kBad, "\"s\" is \"abc\", expected a number from 0 to 1", [&] { c.number("s", 0, 1); });
  expect_error(kBad, "\"n\" is 64, expected a number from 0 to 1", [&] { c.number("n", 0, 1); });
  expect_error(kBad, "\"n\" is 64, expected true or false", [&] { c.boolean("n"); });
  expect_error(kBad, "\"n\" is 64, expected a string", [&] { c.string("n"); });
  expect_error(kBad, "\"mixed\" is [1,\"a\"], expected an array of strings", [&] { c.strings("mixed"); });
  expect_error(kBad, "\"s\" is \"abc\", expected an array of strings", [&] { c.strings("s"); });
  expect_error(kBad, "\"s\" is \"abc\", expected an object", [&] { c.object("s"); });
  expect_error(kBad, "\"o.inner.v\" is \"w\", expected an integer",
               [&] { c.object("o").object("inner").integer("v"); });
  expect_error(kBad, "f: holds [1], expected a JSON object", [] { ConfigObject::parse("[1]", "f"); });
}

TEST(InQuotes, EscapesAndShortens) {
  EXPECT_EQ(in_quotes("model.norm"), "\"model.norm\"");
  EXPECT_EQ(in_quotes(std::string_view("a\0\n\"\\\x7f\xc3", 7)), "\"a\\x00\\x0a\\\"\\\\\\x7f\\xc3\"");
  EXPECT_EQ(in_quotes(std::string(1000, 'x'), 10), "\"xxxxx...xxxxx\"");
}

}  // namespace
}  // namespace octavo
