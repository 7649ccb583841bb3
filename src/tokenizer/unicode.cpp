#include "tokenizer/unicode.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "tokenizer/utf8.h"

namespace octavo::tokenizer {
namespace {

#include "tokenizer/unicode_tables.inc"

constexpr uint32_t kCodePoints = 0x110000;
constexpr const char* kCategoryNames[kCategories] = {
    "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
    "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co", "Cs"};

const CodePointBytes& combining_table() {
  static const CodePointBytes table(kCombiningRuns, 8);
  return table;
}

// Code point -> characters, from {code point, length, characters...} records.
class Mapping {
 public:
  explicit Mapping(std::span<const uint32_t> records) {
    for (size_t i = 0; i < records.size(); i += 2 + records[i + 1])
      at_.emplace(records[i], records.subspan(i + 2, records[i + 1]));
  }
  const std::span<const uint32_t>* find(char32_t c) const {
    const auto found = at_.find(c);
    return found == at_.end() ? nullptr : &found->second;
  }

 private:
  std::unordered_map<uint32_t, std::span<const uint32_t>> at_;
};

const Mapping& canonical_mapping() {
  static const Mapping mapping(kCanonical);
  return mapping;
}
const Mapping& compatible_mapping() {
  static const Mapping mapping(kCompatible);
  return mapping;
}

const std::unordered_map<uint64_t, char32_t>& composition_map() {
  static const auto map = [] {
    std::unordered_map<uint64_t, char32_t> pairs;
    for (size_t i = 0; i < std::size(kCompositions); i += 3)
      pairs.emplace(uint64_t{kCompositions[i]} << 32 | kCompositions[i + 1], kCompositions[i + 2]);
    return pairs;
  }();
  return map;
}

// Hangul syllables compose and decompose by arithmetic (Unicode 3.12).
constexpr char32_t kSyllables = 0xac00, kLeading = 0x1100, kVowels = 0x1161, kTrailing = 0x11a7;
constexpr uint32_t kVowelCount = 21, kTrailingCount = 28, kLeadingCount = 19;
constexpr uint32_t kSyllableCount = kLeadingCount * kVowelCount * kTrailingCount;

void append_decomposed(std::u32string& out, char32_t c, bool compatible) {
  if (c < 0x80) {
    out += c;
  } else if (c - kSyllables < kSyllableCount) {
    const uint32_t i = c - kSyllables, trailing = i % kTrailingCount;
    out += kLeading + i / (kVowelCount * kTrailingCount);
    out += kVowels + i / kTrailingCount % kVowelCount;
    if (trailing) out += kTrailing + trailing;
  } else {
    const std::span<const uint32_t>* parts = compatible ? compatible_mapping().find(c) : nullptr;
    if (!parts) parts = canonical_mapping().find(c);
    if (parts)
      out.append(parts->begin(), parts->end());
    else
      out += c;
  }
}

// Stable order by combining class between starters.
void order_marks(std::u32string& text) {
  const auto& classes = combining_table();
  for (size_t i = 0; i < text.size();) {
    if (classes[text[i]] == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < text.size() && classes[text[end]] != 0) ++end;
    std::stable_sort(text.begin() + i, text.begin() + end,
                     [&](char32_t a, char32_t b) { return classes[a] < classes[b]; });
    i = end;
  }
}

// 0 when the two do not compose.
char32_t composed(char32_t first, char32_t second) {
  if (first - kLeading < kLeadingCount && second - kVowels < kVowelCount)
    return kSyllables + ((first - kLeading) * kVowelCount + (second - kVowels)) * kTrailingCount;
  if (first - kSyllables < kSyllableCount && (first - kSyllables) % kTrailingCount == 0 &&
      second > kTrailing && second < kTrailing + kTrailingCount)
    return first + (second - kTrailing);
  const auto found = composition_map().find(uint64_t{first} << 32 | second);
  return found == composition_map().end() ? 0 : found->second;
}

// Each character joins the last starter unless one of the same or a higher class stands between them.
std::u32string compose(const std::u32string& text) {
  const auto& classes = combining_table();
  std::u32string out;
  size_t starter = std::u32string::npos;
  for (char32_t c : text) {
    const int k = classes[c];
    if (starter != std::u32string::npos) {
      const bool adjacent = starter + 1 == out.size();
      const int between = adjacent ? -1 : classes[out.back()];
      if (between < k || adjacent) {
        if (const char32_t joined = composed(out[starter], c)) {
          out[starter] = joined;
          continue;
        }
      }
    }
    if (k == 0) starter = out.size();
    out += c;
  }
  return out;
}

}  // namespace

CodePointBytes::CodePointBytes(std::span<const uint32_t> runs, int value_bits) {
  std::map<std::vector<uint8_t>, uint16_t> known;
  std::vector<uint8_t> page(256);
  size_t run = 0;
  for (uint32_t number = 0; number < page_of_.size(); ++number) {
    for (uint32_t i = 0; i < 256; ++i) {
      while (run + 1 < runs.size() && (runs[run + 1] >> value_bits) <= (number << 8 | i)) ++run;
      page[i] = static_cast<uint8_t>(runs[run] & ((1u << value_bits) - 1));
    }
    const auto [entry, is_new] = known.emplace(page, static_cast<uint16_t>(known.size()));
    if (is_new) pages_.insert(pages_.end(), page.begin(), page.end());
    page_of_[number] = entry->second;
  }
}

const CodePointBytes& category_table() {
  static const CodePointBytes table(kCategoryRuns, 5);
  return table;
}

const CodePointBytes& flag_table() {
  static const CodePointBytes table(kFlagRuns, 8);
  return table;
}

const CodePointBytes& script_table() {
  static const CodePointBytes table(kScriptRuns, 8);
  return table;
}

CategorySet categories_named(std::string_view name) {
  CategorySet set = 0;
  for (int i = 0; i < kCategories; ++i)
    if (name == kCategoryNames[i] || (name.size() == 1 && name[0] == kCategoryNames[i][0])) set |= 1u << i;
  return set;
}

template <class Test>
static std::vector<CodePointRange> ranges_where(Test test) {
  std::vector<CodePointRange> ranges;
  for (uint32_t c = 0; c < kCodePoints; ++c) {
    if (!test(c)) continue;
    if (!ranges.empty() && ranges.back().last + 1 == c)
      ranges.back().last = c;
    else
      ranges.push_back({c, c});
  }
  return ranges;
}

std::vector<CodePointRange> ranges_of(CategorySet set) {
  return ranges_where([&](uint32_t c) { return in_categories(c, set); });
}

std::vector<CodePointRange> ranges_with(CharacterFlag flag) {
  return ranges_where([&](uint32_t c) { return has_flag(c, flag); });
}

std::vector<CodePointRange> newer_than_pcre2(CategorySet set) {
  std::vector<CodePointRange> ranges;
  for (size_t i = 0; i < std::size(kNewerThanPcre2); i += 3)
    if (set >> kNewerThanPcre2[i + 2] & 1u) ranges.push_back({kNewerThanPcre2[i], kNewerThanPcre2[i + 1]});
  return ranges;
}

void append_lowercase(std::string& out, char32_t c) {
  static const auto map = [] {
    std::unordered_map<uint32_t, uint32_t> pairs;
    for (size_t i = 0; i < std::size(kLowercase); i += 2) pairs.emplace(kLowercase[i], kLowercase[i + 1]);
    return pairs;
  }();
  if (c < 0x80) {
    out += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  } else if (c == 0x130) {  // the only one that becomes two characters
    out += "i\xcc\x87";
  } else {
    const auto found = map.find(c);
    append_utf8(out, found == map.end() ? c : found->second);
  }
}

std::u32string normalize(std::u32string_view text, NormalForm form) {
  std::u32string out;
  out.reserve(text.size());
  for (char32_t c : text) append_decomposed(out, c, form == NormalForm::nfkc || form == NormalForm::nfkd);
  order_marks(out);
  return form == NormalForm::nfc || form == NormalForm::nfkc ? compose(out) : out;
}

}  // namespace octavo::tokenizer
