#!/usr/bin/env python3
"""Write src/tokenizer/unicode_tables.inc: what the PyPI package `tokenizers` believes about every code point.

Nothing is taken from the Unicode files: each table is measured by running the package on each code point, so that it has
the package's Unicode version(s), which differ between its parts (regular expressions are new, normalisers are old).
Python's own unicodedata only proposes combining classes and composition pairs, and every proposal is checked.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3 && venv/bin/python tools/make_unicode_tables.py
"""
import itertools
import pathlib
import unicodedata

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

OUT = pathlib.Path(__file__).resolve().parents[1] / "src/tokenizer/unicode_tables.inc"
LIMIT = 0x110000
CODE_POINTS = [c for c in range(LIMIT) if not 0xD800 <= c < 0xE000]
CATEGORIES = "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cs".split()
PCRE2_UNICODE = "14.0.0"  # of Debian 12's PCRE2 10.42; Python 3.11 has the same


def matched_by(pattern):
    """Code points that the package's regular expressions match, as a set."""
    removed = pre_tokenizers.Split(Regex(pattern), "removed")
    found = set()
    for chunk in itertools.batched(CODE_POINTS, 4096) if hasattr(itertools, "batched") else batches(CODE_POINTS, 4096):
        kept = set()
        for _, (start, end) in removed.pre_tokenize_str("".join(map(chr, chunk))):
            kept.update(range(start, end))
        found.update(c for i, c in enumerate(chunk) if i not in kept)
    return found


def batches(items, size):
    for i in range(0, len(items), size):
        yield items[i:i + size]


def general_categories():
    category = {}
    for name in CATEGORIES:
        if name == "Cs":
            continue
        for c in matched_by(rf"\p{{{name}}}"):
            assert c not in category, hex(c)
            category[c] = name
    assert len(category) == len(CODE_POINTS)
    for c in range(0xD800, 0xE000):
        category[c] = "Cs"
    return category


def property_flags():
    """bit: 0 \\w of added tokens and Whitespace, 1 White_Space, 2 numeric (Digits), 3 punctuation, 4 removed by BERT's
    clean_text, 5 nonspacing mark (BERT), 6 combining mark (StripAccents), 7 \\w of patterns."""
    whitespace, digits = pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)
    punctuation, split = pre_tokenizers.Punctuation("isolated"), pre_tokenizers.WhitespaceSplit()
    clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    accents = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
    marks = normalizers.StripAccents()
    pattern_word = matched_by(r"\w")
    assert matched_by(r"\s") == {c for c in CODE_POINTS if split.pre_tokenize_str(chr(c)) == []}
    flags = {}
    for c in CODE_POINTS:
        s = chr(c)
        tests = (
            [p for p, _ in whitespace.pre_tokenize_str("a" + s)] == ["a" + s],
            split.pre_tokenize_str(s) == [],
            len(digits.pre_tokenize_str("ab" + s)) == 2,
            len(punctuation.pre_tokenize_str("a" + s)) == 2,
            clean.normalize_str(s) == "",
            accents.normalize_str(s) == "",
            marks.normalize_str(s) == "",
            c in pattern_word,
        )
        flags[c] = sum(1 << i for i, t in enumerate(tests) if t)
    return flags


def combining_classes():
    """The class of each code point as the package orders it; 0 where it takes a character for a starter."""
    nfd = normalizers.NFD()
    proposed = {c: unicodedata.combining(chr(c)) for c in CODE_POINTS}
    stable = [c for c in CODE_POINTS if proposed[c] and nfd.normalize_str("a" + chr(c) + "\u0334") == "a\u0334" + chr(c)]
    classes = {c: proposed[c] for c in stable}
    classes.update({c: 1 for c in CODE_POINTS if proposed[c] == 1 and nfd.normalize_str("a\u0316" + chr(c)) == "a" + chr(c) + "\u0316"})
    sample = {}
    for c, k in classes.items():
        sample.setdefault(k, c)
    for c in CODE_POINTS:  # against one character of every class, on both sides
        if nfd.normalize_str(chr(c)) != chr(c):
            continue
        k = classes.get(c, 0)
        for other, d in sample.items():
            text = "a" + chr(d) + chr(c)
            swapped = 0 < k < other
            assert nfd.normalize_str(text) == ("a" + chr(c) + chr(d) if swapped else text), (hex(c), hex(d))
            if not k:
                break
    return classes


def is_hangul(c):
    return 0xAC00 <= c < 0xAC00 + 11172


def decompositions(form):
    """Full decompositions that differ from the identity, Hangul left out."""
    return {c: s for c in CODE_POINTS if not is_hangul(c) and (s := form.normalize_str(chr(c))) != chr(c)}


def compositions():
    nfc = normalizers.NFC()
    pairs = {}
    for c in CODE_POINTS:
        parts = unicodedata.decomposition(chr(c)).split()
        if len(parts) == 2 and not is_hangul(c) and not parts[0].startswith("<"):
            first, second = (int(p, 16) for p in parts)
            if nfc.normalize_str(chr(first) + chr(second)) == chr(c):
                pairs[first, second] = c
    return pairs


def scripts():
    """A number from 1 for the script of each code point as UnicodeScripts tells them apart; 0 where it sees none."""
    split = pre_tokenizers.UnicodeScripts()
    with_script = [c for c in CODE_POINTS if split.pre_tokenize_str(chr(c))]
    number_of, samples = {}, []  # samples: a character of each script
    for chunk in batches(with_script, 4096):
        for piece, _ in split.pre_tokenize_str("".join(map(chr, chunk))):
            number = next((i for i, s in enumerate(samples) if len(split.pre_tokenize_str(s + piece[0])) == 1), len(samples))
            if number == len(samples):
                samples.append(piece[0])
            number_of.update((ord(c), number + 1) for c in piece)
    assert len(samples) < 255
    return number_of


def runs(value_of):
    """(first code point, value) wherever the value changes."""
    out, last = [], None
    for c in range(LIMIT):
        v = value_of(c)
        if v != last:
            out.append((c, v))
            last = v
    return out


def emit(lines, declaration, numbers):
    lines.append(f"inline constexpr {declaration} = {{")
    row = ""
    for n in numbers:
        text = f"{n:#x}," if n > 9 else f"{n},"
        if len(row) + len(text) > 158:
            lines.append(row)
            row = ""
        row += text
    lines += [row, "};"]


def main():
    assert unicodedata.unidata_version == PCRE2_UNICODE, "run with Python 3.11"
    category = general_categories()
    lines = [f"// Generated by tools/make_unicode_tables.py from tokenizers {tokenizers.__version__}. Do not edit.", "// clang-format off"]
    index = {name: i for i, name in enumerate(CATEGORIES)}
    emit(lines, "uint32_t kCategoryRuns[]", [c << 5 | v for c, v in runs(lambda c: index[category[c]])])
    newer = runs(lambda c: index[category[c]] if unicodedata.category(chr(c)) != category[c] else None)
    newer.append((LIMIT, None))
    emit(lines, "uint32_t kNewerThanPcre2[]",  # first, last, category
         itertools.chain(*((c, nxt - 1, v) for (c, v), (nxt, _) in zip(newer, newer[1:]) if v is not None)))
    flags = property_flags()
    emit(lines, "uint32_t kFlagRuns[]", [c << 8 | v for c, v in runs(lambda c: flags.get(c, 0))])

    script = scripts()
    emit(lines, "uint32_t kScriptRuns[]", [c << 8 | v for c, v in runs(lambda c: script.get(c, 0))])

    lower = normalizers.Lowercase()
    lowered = {c: s for c in CODE_POINTS if (s := lower.normalize_str(chr(c))) != chr(c)}
    emit(lines, "uint32_t kLowercase[]", itertools.chain(*((c, ord(s)) for c, s in lowered.items() if len(s) == 1)))
    assert {c: s for c, s in lowered.items() if len(s) > 1} == {0x130: "i\u0307"}

    classes = combining_classes()
    emit(lines, "uint32_t kCombiningRuns[]", [c << 8 | v for c, v in runs(lambda c: classes.get(c, 0))])
    nfd, nfkd = decompositions(normalizers.NFD()), decompositions(normalizers.NFKD())
    nfkd = {c: s for c, s in nfkd.items() if nfd.get(c) != s}
    for name, table in (("Canonical", nfd), ("Compatible", nfkd)):  # code point, length, the characters
        emit(lines, f"uint32_t k{name}[]", itertools.chain(*((c, len(s), *map(ord, s)) for c, s in table.items())))
    emit(lines, "uint32_t kCompositions[]", itertools.chain(*((a, b, c) for (a, b), c in sorted(compositions().items()))))
    OUT.write_text("\n".join(lines) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes, {len(lines)} lines")


if __name__ == "__main__":
    main()
