#!/usr/bin/env python3
"""The tree keeps its shape (CONTRIBUTING.md, "Complexity budget").

Files under 600 lines, names that say something, the slots of every op folder, plain references, no binaries but models and
goldens, and documents whose commands and links exist.
"""
import argparse
import re
import sys
from pathlib import Path

import source_tree

MAX_LINES = 600
MAX_APP_LINES = 250
MAX_REF_LINES = 120
MAX_BYTES = 16 * 2**20
LARGE: dict[str, str] = {}  # path: why a file over MAX_BYTES is in git; there is none
CODE = source_tree.CPP | {".py", ".sh", ".cmake"}
CODE_NAMES = {"dev", "CMakeLists.txt", ".ci/run"}
BANNED_NAMES = re.compile(r"^(utils?|common|misc|helpers?)$", re.I)
SLOTS = ["{op}.md", "{op}.h", "{op}.cpp", "{op}_ref.cpp", "{op}_cases.h", "{op}_test.cpp"]
INTRINSICS = re.compile(r"immintrin\.h|arm_neon\.h|simd/|\b_mm\d*_\w+|\b__m(128|256|512)|__builtin_ia32|#\s*pragma\s+(omp|GCC)")
# Where bytes that are no text may lie: models, and the goldens and fuzz inputs of tests.
BINARY_PLACES = re.compile(r"^models/.*\.(safetensors|model)$|^tests/.*\.(safetensors|bin|npy|model|xz|gz|gguf)$|^tests/fuzz/corpus/|^docs/.*\.png$")
PROGRAM_MAGIC = (b"\x7fELF", b"MZ", b"!<arch>")


def is_code(name: str) -> bool:
    return Path(name).suffix in CODE or name in CODE_NAMES


def line_count(path: Path) -> int:
    return len(path.read_bytes().splitlines())


def check_lengths(root: Path, names: list[str]) -> list[str]:
    found, reasons = [], {}
    listing = root / "tools/long_files.txt"
    for number, line in enumerate(listing.read_text().splitlines() if listing.exists() else [], start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, reason = line.partition(":")
        if len(reason.split()) < 3:
            found.append(f"tools/long_files.txt:{number}: say why {name} is long (path: reason)")
        reasons[name.strip()] = number
    for name in filter(is_code, names):
        lines = line_count(root / name)
        if lines > MAX_LINES and name not in reasons:
            found.append(f"{name}: {lines} lines, the cap is {MAX_LINES}: split by role, or give the reason in tools/long_files.txt")
        if lines <= MAX_LINES and name in reasons:
            found.append(f"tools/long_files.txt:{reasons[name]}: {name} has {lines} lines and needs no exception")
        if name.startswith("apps/octavo/") and lines > MAX_APP_LINES:
            found.append(f"{name}: {lines} lines; a file of the program has at most {MAX_APP_LINES}")
    found += [f"tools/long_files.txt:{number}: {name} does not exist" for name, number in reasons.items() if name not in names]
    return found


def check_names(names: list[str]) -> list[str]:
    return [f"{name}: '{part}' says nothing; name the file after what it does"
            for name in names for part in name.split("/") if BANNED_NAMES.match(part.partition(".")[0])]


def check_ops(root: Path, names: list[str]) -> list[str]:
    found = []
    ops = sorted({name.split("/")[2] for name in names if name.startswith("src/ops/") and name.count("/") > 2})
    for op in ops:
        folder = f"src/ops/{op}/"
        inside = [name.removeprefix(folder) for name in names if name.startswith(folder)]
        for slot in SLOTS:
            if slot.format(op=op) not in inside:
                found.append(f"{folder}: {slot.format(op=op)} is missing")
        found += [f"{folder}{file}: does not begin with the op's stem {op}" for file in inside if not re.match(rf"{op}[._]", file)]
        if f"{op}_ref.cpp" in inside:
            text = (root / folder / f"{op}_ref.cpp").read_text()
            code = source_tree.without_comments(text)
            found += [f"{folder}{op}_ref.cpp:{source_tree.line_of(code, m.start())}: the reference is plain loops, not '{m[0]}'"
                      for m in INTRINSICS.finditer(code)]
            lines = len(text.splitlines())
            if lines >= MAX_REF_LINES:
                found.append(f"{folder}{op}_ref.cpp: {lines} lines; a specification stays under {MAX_REF_LINES}")
    umbrella = root / "include/octavo/ops.h"
    if ops and not umbrella.exists():
        return found + ["include/octavo/ops.h: missing; it has one line for each op"]
    listed = re.findall(r'#include "ops/(\w+)/\1\.h"', umbrella.read_text()) if ops else []
    found += [f"include/octavo/ops.h: no line for the op {op}" for op in ops if op not in listed]
    return found + [f"include/octavo/ops.h: {op} is no folder of src/ops" for op in listed if op not in ops]


def check_bytes(root: Path, names: list[str]) -> list[str]:
    found = []
    for name in names:
        size = (root / name).stat().st_size
        if size > MAX_BYTES and name not in LARGE:
            found.append(f"{name}: {size} bytes, the most is {MAX_BYTES}")
        with open(root / name, "rb") as file:
            head = file.read(8192)
        if head.startswith(PROGRAM_MAGIC):
            found.append(f"{name}: a compiled program or library; those are built, not stored")
        elif b"\0" in head and not BINARY_PLACES.match(name):
            found.append(f"{name}: binary; only models/ and the goldens under tests/ may be")
    return found


def check_documents(root: Path, names: list[str]) -> list[str]:
    """Commands of ./dev and of the program that documents show exist, and so do the files that they link to."""
    found = []
    dev = (root / "dev").read_text() if (root / "dev").exists() else ""
    dev_commands = set(re.findall(r"^  ([a-z]+) ", dev.partition("HELP'\n")[2].partition("\nHELP")[0], re.M))
    program_commands = {Path(name).stem.removeprefix("cmd_") for name in names if re.match(r"apps/octavo/cmd_\w+\.cpp", name)}
    for name in (name for name in names if name.endswith(".md") and not name.startswith("models/")):
        text = (root / name).read_text()
        for match in re.finditer(r"\./dev ([a-z]+)", text):
            if match[1] not in dev_commands:
                found.append(f"{name}:{source_tree.line_of(text, match.start())}: ./dev has no command {match[1]}")
        for block in re.finditer(r"^```[a-z]*\n(.*?)^```", text, re.M | re.S):
            for match in re.finditer(r"^(?:\$ )?(?:\./|build/cpu/)?octavo ([a-z]+)\b", block[1], re.M):
                if program_commands and match[1] not in program_commands:
                    line = source_tree.line_of(text, block.start(1) + match.start())
                    found.append(f"{name}:{line}: octavo has no command {match[1]}")
        for match in re.finditer(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", re.sub(r"`[^`\n]*`", lambda m: " " * len(m[0]), text)):
            if not ((root / name).parent / match[1]).exists():
                found.append(f"{name}:{source_tree.line_of(text, match.start())}: links to {match[1]}, which does not exist")
    return found


def check(root: Path) -> tuple[list[str], str]:
    names = source_tree.files(root)
    findings = (check_lengths(root, names) + check_names(names) + check_ops(root, names) + check_bytes(root, names) +
                check_documents(root, names))
    return findings, f"{len(names)} files hold to the layout"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    sys.exit(source_tree.report("check_tree", *check(parser.parse_args().root)))
