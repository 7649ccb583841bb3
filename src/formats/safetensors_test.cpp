#include "formats/safetensors.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "harness/expect_error.h"
#include "harness/random.h"
#include "harness/temp_folder.h"

namespace octavo {
namespace {

using harness::expect_error;
using harness::random_bits;
using harness::TempFolder;

constexpr ErrorKind kBad = ErrorKind::bad_model;

std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i) & 0xff);
  return bytes + rest;
}
std::string file_of(const std::string& header, const std::string& data) {
  return with_length(header.size(), header + data);
}
std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape, offsets);
}

std::string header_of(const std::string& entries) { return fmt::format("{{{}}}", entries); }

const std::string kTwoTensors = "{\"__metadata__\":{\"format\":\"pt\"}," +
                                tensor("b", "F32", "[2,1]", "[4,12]") + "," +
                                tensor("a", "I8", "[4]", "[0,4]") + "}";

TEST(SafetensorsHeader, ListsTensorsByOffset) {
  const SafetensorsHeader h = parse_safetensors_header(kTwoTensors, 12, "f");
  ASSERT_EQ(h.tensors.size(), 2u);
  EXPECT_EQ(h.tensors[0].name, "a");
  EXPECT_EQ(h.tensors[0].dtype, DType::i8);
  EXPECT_EQ(h.tensors[0].shape, (std::vector<int64_t>{4}));
  EXPECT_EQ(h.tensors[1].name, "b");
  EXPECT_EQ(h.tensors[1].describe(), "F32 [2, 1]");
  EXPECT_EQ(h.tensors[1].begin, 4);
  EXPECT_EQ(h.tensors[1].bytes(), 8);
  EXPECT_EQ(h.metadata.at("format"), "pt");
}

TEST(SafetensorsHeader, AcceptsWhatTheFormatAllows) {
  EXPECT_TRUE(parse_safetensors_header("{}", 0, "f").tensors.empty());
  EXPECT_TRUE(parse_safetensors_header("{}      ", 0, "f").tensors.empty());  // padding
  const auto scalar = parse_safetensors_header(header_of(tensor("s", "F64", "[]", "[0,8]")), 8, "f");
  EXPECT_TRUE(scalar.tensors[0].shape.empty());
  // Empty tensors anywhere, the end included.
  const auto empty = parse_safetensors_header("{" + tensor("x", "F32", "[0,5]", "[0,0]") + "," +
                                                  tensor("y", "U8", "[3]", "[0,3]") + "," +
                                                  tensor("z", "I64", "[7,0]", "[3,3]") + "}",
                                              3, "f");
  EXPECT_EQ(empty.tensors.size(), 3u);
}

TEST(SafetensorsHeader, KnowsEveryDtypeOfTheFormat) {
  for (const char* name : {"F64", "F32", "F16", "BF16", "I64", "I32", "I8", "U8"}) {
    const auto type = dtype_of_safetensors(name);
    ASSERT_TRUE(type) << name;
    EXPECT_EQ(size_of(*type) * 8, *safetensors_dtype_bits(name));
    EXPECT_STREQ(safetensors_name_of(*type), name);
  }
  for (const char* name : {"I16", "U16", "U32", "U64", "BOOL", "C64", "F8_E4M3", "F8_E5M2", "F8_E8M0",
                           "F6_E2M3", "F6_E3M2", "F4"}) {
    EXPECT_FALSE(dtype_of_safetensors(name)) << name;
    EXPECT_TRUE(safetensors_dtype_bits(name)) << name;
  }
  const auto fp4 = parse_safetensors_header(header_of(tensor("x", "F4", "[3,2]", "[0,3]")), 3, "f");
  EXPECT_FALSE(fp4.tensors[0].dtype);
  expect_error(kBad, "tensor \"x\": unknown dtype \"F128\"",
               [] { parse_safetensors_header(header_of(tensor("x", "F128", "[1]", "[0,16]")), 16, "f"); });
  expect_error(kBad, "not whole bytes",
               [] { parse_safetensors_header(header_of(tensor("x", "F4", "[3]", "[0,2]")), 2, "f"); });
}

struct BadHeader {
  const char* what;
  std::string header;
  int64_t data_bytes;
  const char* message;
};

TEST(SafetensorsHeader, RefusesBadHeaders) {
  const std::string a = tensor("a", "I8", "[4]", "[0,4]");
  const auto one = [](const std::string& shape, const std::string& offsets) {
    return header_of(tensor("x", "F32", shape, offsets));
  };
  const auto entry = [](const std::string& body) { return "{\"x\":{" + body + "}}"; };
  const std::vector<BadHeader> cases = {
      {"empty", "", 0, "must begin with '{'"},
      {"space first", " {}", 0, "must begin with '{'"},
      {"array", "[]", 0, "must begin with '{'"},
      {"cut off", "{\"a\":", 0, "not valid JSON"},
      {"two values", "{}{}", 0, "not valid JSON"},
      {"NUL padding", std::string("{}\0\0", 4), 0, "not valid JSON"},
      {"invalid UTF-8", "{\"\xff\":1}", 0, "not valid JSON"},
      {"overlap", "{" + a + "," + tensor("b", "I8", "[4]", "[3,7]") + "}", 7, "tensors overlap"},
      {"same bytes twice", "{" + a + "," + tensor("b", "I8", "[4]", "[0,4]") + "}", 4, "tensors overlap"},
      {"hole", "{" + a + "," + tensor("b", "I8", "[4]", "[5,9]") + "}", 9, "hole between tensors"},
      {"hole at the start", header_of(tensor("b", "I8", "[4]", "[1,5]")), 5, "hole between tensors"},
      {"bytes left over", "{" + a + "}", 5, "belong to no tensor"},
      {"bytes left over, no tensor", "{}", 1, "belong to no tensor"},
      {"data missing", "{" + a + "}", 3, "it is cut off"},
      {"backwards", one("[0]", "[4,0]"), 4, "run backwards"},
      {"size and shape differ", one("[2]", "[0,4]"), 4,
       "F32 [2] takes 8 bytes, its data_offsets [0, 4] span 4"},
      {"product wraps 64 bits", one("[4294967296,4294967296]", "[0,0]"), 0, "no valid size"},
      {"product wraps to the right size", one("[4611686018427387905,4]", "[0,16]"), 16, "no valid size"},
      {"bytes wrap 64 bits", one("[4611686018427387904]", "[0,0]"), 0, "no valid size"},
      {"dimension above 63 bits", one("[18446744073709551615]", "[0,4]"), 4, "does not fit 63 bits"},
      {"dimension above 64 bits", one("[18446744073709551616]", "[0,4]"), 4, "does not belong here"},
      {"offset above 63 bits", one("[1]", "[18446744073709551612,18446744073709551616]"), 4,
       "does not fit 63 bits"},
      {"offset far out", one("[1]", "[9223372036854775800,9223372036854775804]"), 4, "hole between tensors"},
      {"negative dimension", one("[-1]", "[0,4]"), 4, "the number -1 does not belong here"},
      {"negative offset", one("[1]", "[-4,0]"), 4, "the number -4 does not belong here"},
      {"fraction", one("[1.0]", "[0,4]"), 4, "does not belong here"},
      {"shape of strings", one("[\"1\"]", "[0,4]"), 4, "does not belong here"},
      {"nested shape", one("[[1]]", "[0,4]"), 4, "an array does not belong here"},
      {"shape is a number", one("1", "[0,4]"), 4, "does not belong here"},
      {"one offset", one("[1]", "[0]"), 4, "needs 2 numbers"},
      {"three offsets", one("[1]", "[0,4,4]"), 4, "more than 2 numbers"},
      {"no dtype", entry(R"("shape":[1],"data_offsets":[0,4])"), 4, "dtype is missing"},
      {"no shape", entry(R"("dtype":"F32","data_offsets":[0,4])"), 4, "shape is missing"},
      {"no offsets", entry(R"("dtype":"F32","shape":[1])"), 4, "data_offsets is missing"},
      {"dtype is a number", entry(R"("dtype":32,"shape":[1],"data_offsets":[0,4])"), 4,
       "the number 32 does not belong here"},
      {"dtype is null", entry(R"("dtype":null,"shape":[1],"data_offsets":[0,4])"), 4,
       "null does not belong here"},
      {"unknown key", entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,4],"zip":true)"), 4,
       "unknown key \"zip\""},
      {"tensor is a string", R"({"x":"F32"})", 0, "the string \"F32\" does not belong here"},
      {"tensor is null", R"({"x":null})", 0, "null does not belong here"},
      {"tensor is an array", R"({"x":[]})", 0, "an array does not belong here"},
      {"duplicate tensor",
       "{" + tensor("a", "I8", "[0]", "[0,0]") + "," + tensor("a", "I8", "[0]", "[0,0]") + "}", 0,
       "duplicate key \"a\""},
      {"duplicate tensor, spelled differently", "{" + a + "," + tensor("\\u0061", "I8", "[4]", "[4,8]") + "}",
       8, "duplicate key \"a\""},
      {"duplicate field", entry(R"("dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4])"), 4,
       "duplicate key \"dtype\""},
      {"duplicate metadata", R"({"__metadata__":{},"__metadata__":{}})", 0, "duplicate key \"__metadata__\""},
      {"duplicate in metadata", R"({"__metadata__":{"a":"1","a":"2"}})", 0,
       "duplicate key \"a\" in \"__metadata__\""},
      {"metadata of numbers", R"({"__metadata__":{"a":1}})", 0,
       "\"__metadata__\": the number 1 does not belong here"},
      {"metadata of objects", R"({"__metadata__":{"a":{}}})", 0, "an object does not belong here"},
      {"metadata is null", R"({"__metadata__":null})", 0, "null does not belong here"},
      {"deep", "{\"a\":" + std::string(1'000'000, '['), 0, "an array does not belong here"},
  };
  for (const BadHeader& c : cases) {
    SCOPED_TRACE(c.what);
    expect_error(kBad, c.message, [&] { parse_safetensors_header(c.header, c.data_bytes, "f"); });
  }
  std::string rank = "1";
  for (int i = 0; i < 64; ++i) rank += ",1";
  expect_error(kBad, "more than 64 dimensions",
               [&] { parse_safetensors_header(one("[" + rank + "]", "[0,4]"), 4, "f"); });
}

// B01, B02 of research/reliability.md: sizes against 128-bit arithmetic, near every power of two that matters.
TEST(SafetensorsHeader, SizesMatchA128BitOracle) {
  using Wide = unsigned __int128;
  constexpr int kBits[] = {4, 6, 8, 16, 32, 64};
  int accepted = 0, refused = 0;
  for (uint64_t i = 0; i < 1'000'000; ++i) {
    const int bits = kBits[random_bits(1, i) % 6];
    std::vector<int64_t> shape(random_bits(2, i) % 10);
    for (size_t d = 0; d < shape.size(); ++d) {
      const uint64_t r = random_bits(3, i * 10 + d);
      const int64_t power = int64_t{1} << (r % 63);
      const int64_t near_power = (power - 1) + static_cast<int64_t>(r >> 8 & 3) % 3;  // 2^n - 1, 2^n, 2^n + 1
      shape[d] = (r >> 16 & 3) == 0 ? near_power : static_cast<int64_t>(r >> 32 & 15);
      if ((r >> 20 & 63) == 0) shape[d] = -1 - near_power;
    }
    bool fits = true;
    Wide elements = 1;
    for (const int64_t n : shape) {
      fits = fits && n >= 0;
      if (fits) elements *= static_cast<Wide>(n);
      fits = fits && elements <= static_cast<Wide>(INT64_MAX);
    }
    const Wide total_bits = fits ? elements * static_cast<Wide>(bits) : 0;
    fits = fits && total_bits % 8 == 0 && total_bits / 8 <= static_cast<Wide>(INT64_MAX);
    // Sub-byte types: the product in bits must fit as well, which refuses nothing below 2^60 bytes.
    if (bits < 8 && total_bits > static_cast<Wide>(INT64_MAX)) fits = false;
    const auto got = checked_tensor_bytes(bits, shape);
    ASSERT_EQ(got.has_value(), fits) << "case " << i;
    ASSERT_TRUE(!fits || static_cast<Wide>(*got) == total_bits / 8) << "case " << i;
    ++(fits ? accepted : refused);
  }
  EXPECT_GT(accepted, 100'000);
  EXPECT_GT(refused, 100'000);
}

// Whatever bytes change, the answer is a header or an error, and an accepted header covers the data exactly.
TEST(SafetensorsHeader, MutatedHeadersNeverCrash) {
  int accepted = 0;
  for (uint64_t i = 0; i < 100'000; ++i) {
    std::string text = kTwoTensors;
    const uint64_t edits = 1 + random_bits(10, i) % 4;
    for (uint64_t e = 0; e < edits; ++e) {
      const uint64_t r = random_bits(11, i * 4 + e);
      constexpr std::string_view kTokens = "{}[]\",:0123456789-eFI8\\u \xff";
      const size_t at = r % text.size();
      const char c = kTokens[(r >> 20) % kTokens.size()];
      if ((r >> 40 & 3) == 0)
        text.insert(at, 1, c);
      else if ((r >> 40 & 3) == 1 && text.size() > 1)
        text.erase(at, 1);
      else
        text[at] = c;
    }
    try {
      const SafetensorsHeader h = parse_safetensors_header(text, 12, "f");
      int64_t covered = 0;
      for (const TensorInfo& t : h.tensors) covered += t.bytes();
      ASSERT_EQ(covered, 12) << text;
      ++accepted;
    } catch (const Error& e) {
      ASSERT_EQ(e.kind(), kBad) << text;
    }
  }
  EXPECT_GT(accepted, 0);  // the mutations are not all fatal: names and metadata may change
}

TEST(SafetensorsFile, ReadsTensorsAndParts) {
  TempFolder folder;
  const float values[2] = {1.5f, -2.0f};
  const auto path = folder.write(
      "m.safetensors",
      file_of(kTwoTensors, "\x01\x02\x03\x04" + std::string(reinterpret_cast<const char*>(values), 8)));
  SafetensorsFile file = SafetensorsFile::open(path);
  const SafetensorsFile moved = std::move(file);
  ASSERT_TRUE(moved.find("b"));
  EXPECT_FALSE(moved.find("c"));
  float got[2];
  moved.read(*moved.find("b"), got);
  EXPECT_EQ(got[0], 1.5f);
  EXPECT_EQ(got[1], -2.0f);
  char middle[2];
  moved.read(*moved.find("a"), 1, middle, 2);
  EXPECT_EQ(std::string(middle, 2), "\x02\x03");
  expect_error(ErrorKind::usage, "4 bytes from byte 1 on asked for, it has 4",
               [&] { moved.read(*moved.find("a"), 1, middle, 4); });
  expect_error(ErrorKind::usage, "asked for", [&] { moved.read(*moved.find("a"), -1, middle, 2); });
  expect_error(ErrorKind::usage, "asked for", [&] { moved.read(*moved.find("a"), INT64_MAX, middle, 2); });
}

TEST(SafetensorsFile, RefusesDamagedFiles) {
  TempFolder folder;
  const std::string good = file_of(kTwoTensors, std::string(12, 'x'));
  ASSERT_NO_THROW(SafetensorsFile::open(folder.write("good", good)));
  expect_error(kBad, "cannot be opened: No such file", [&] { SafetensorsFile::open(folder / "missing"); });
  expect_error(kBad, "0 bytes, a safetensors file has at least 8",
               [&] { SafetensorsFile::open(folder.write("f", "")); });
  expect_error(kBad, "7 bytes", [&] { SafetensorsFile::open(folder.write("f", "1234567")); });
  expect_error(kBad, "it is cut off",
               [&] { SafetensorsFile::open(folder.write("f", good.substr(0, good.size() - 1))); });
  expect_error(kBad, "belong to no tensor", [&] { SafetensorsFile::open(folder.write("f", good + "x")); });
  expect_error(kBad, "is larger than the file",
               [&] { SafetensorsFile::open(folder.write("f", with_length(3, "{}"))); });
  expect_error(kBad, "is larger than the file",
               [&] { SafetensorsFile::open(folder.write("f", with_length(100'000'000, "{}"))); });
  expect_error(kBad, "the limit is 100000000",
               [&] { SafetensorsFile::open(folder.write("f", with_length(100'000'001, "{}"))); });
  expect_error(kBad, "the limit is 100000000",
               [&] { SafetensorsFile::open(folder.write("f", with_length(UINT64_MAX, "{}"))); });
  expect_error(kBad, "the limit is 100000000",
               [&] { SafetensorsFile::open(folder.write("f", with_length(UINT64_MAX - 7, "{}"))); });
  expect_error(kBad, "must begin with '{'",
               [&] { SafetensorsFile::open(folder.write("f", with_length(0, ""))); });
  for (size_t size = 0; size < good.size(); ++size)  // every truncation
    expect_error(kBad, "f: ", [&] { SafetensorsFile::open(folder.write("f", good.substr(0, size))); });
}

// B06: no memory map, so a file that shrinks while it is read is an error, not a SIGBUS.
TEST(SafetensorsFile, FileThatShrinksAfterOpeningIsAnError) {
  TempFolder folder;
  const auto path = folder.write("m", file_of(kTwoTensors, std::string(12, 'x')));
  const SafetensorsFile file = SafetensorsFile::open(path);
  ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(std::filesystem::file_size(path)) - 1), 0);
  char data[8];
  EXPECT_NO_THROW(file.read(*file.find("a"), data));
  expect_error(kBad, "it was cut while being read", [&] { file.read(*file.find("b"), data); });
}

}  // namespace
}  // namespace octavo
