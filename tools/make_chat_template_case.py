#!/usr/bin/env python3
"""Writes src/tokenizer/chat_template_case.inc: the characters whose upper or title case in Python is longer than one."""
import unicodedata
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "src/tokenizer/chat_template_case.inc"


def rows(convert) -> list[str]:
    special = [(c, convert(chr(c))) for c in range(0x110000) if len(convert(chr(c))) > 1]
    return ["    {0x%x, \"%s\"}," % (c, "".join(f"\\x{b:02x}" for b in text.encode())) for c, text in special]


if __name__ == "__main__":
    lines = [f"// Written by tools/make_chat_template_case.py (Unicode {unicodedata.unidata_version}); do not edit.", "// clang-format off"]
    for name, convert in (("kLongUpper", str.upper), ("kLongTitle", str.title)):
        found = rows(convert)
        lines += [f"constexpr std::array<LongCase, {len(found)}> {name} = {{{{"] + found + ["}};"]
    OUT.write_text("\n".join(lines + ["// clang-format on"]) + "\n")
