#!/usr/bin/env python3
"""One direction: a folder includes only folders on an earlier line (CONTRIBUTING.md, "Layers").

Also: an op's kernels include no other op; only tests, benches, cases and apps include harness; asm stays in
src/cuda/ptx/, launches in src/cuda/launch.h; .cu files see neither fmt nor gtest; public headers see neither CUDA nor
torch; no header includes itself by a detour; every quoted include exists.
"""
import argparse
import re
import sys
from pathlib import Path

import source_tree

LINES = [["core"], ["cuda", "simd", "dist", "formats", "harness"], ["ops", "tokenizer"], ["weights"], ["model"], ["engine"],
         ["server"], ["apps", "python"]]
LINE_OF = {folder: line for line, folders in enumerate(LINES, start=1) for folder in folders}
OUTSIDE = {"tests", "bench"}  # may include anything

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.M)
CUDA_OR_TORCH = re.compile(r"^(cuda|cublas|cudnn|cutlass|cute/|cub/|thrust/|nccl|nv/|mma\.h|torch/|ATen/|c10/)")
NOT_IN_CU = re.compile(r"^(fmt/|spdlog/|gtest/|gmock/|rapidcheck)")
ASM = re.compile(r"\b(?:asm|__asm__|__asm)\b\s*(?:volatile|__volatile__|goto)?\s*\(")
LAUNCH = re.compile(r"<<<|\bcudaLaunch(?:Cooperative)?Kernel\w*")


def folder_of(name: str) -> str:
    """The layer that a file belongs to: core, ops, apps, tests, include, ..."""
    parts = name.split("/")
    return parts[1] if parts[0] == "src" and len(parts) > 2 else parts[0]


def op_of(name: str) -> str | None:
    parts = name.split("/")
    return parts[2] if parts[:2] == ["src", "ops"] and len(parts) > 3 else None


def is_test(name: str) -> bool:
    return folder_of(name) in OUTSIDE or re.search(r"_(test|bench|fuzz)\.(cpp|cu)$", name) is not None


class Tree:
    def __init__(self, root: Path):
        self.names = [name for name in source_tree.files(root) if source_tree.is_cpp(name)]
        known = set(self.names)
        self.text, self.includes, self.missing = {}, {}, []
        for name in self.names:
            self.text[name] = (root / name).read_text(encoding="utf-8", errors="replace")
            plain = source_tree.without_comments(self.text[name])
            rows = []  # (line, as written, file in the tree or None)
            for match in INCLUDE.finditer(plain):
                written = match[2]
                places = [f"src/{written}", f"include/{written}"]
                if folder_of(name) in OUTSIDE:
                    places.append(f"{folder_of(name)}/{written}")
                if match[1] == '"':
                    places.append(str(Path(name).parent / written))
                target = next((place for place in places if place in known), None)
                line = source_tree.line_of(plain, match.start())
                rows.append((line, written, target))
                if match[1] == '"' and target is None:
                    self.missing.append(f'{name}:{line}: "{written}" is no file under src/, include/ or beside this one')
            self.includes[name] = rows

    def reached(self, name: str):
        """Every (chain of files, line, include) that `name` pulls in, its own includes first."""
        seen, queue = {name}, [[name]]
        while queue:
            chain = queue.pop(0)
            for line, written, target in self.includes[chain[-1]]:
                yield chain, line, written
                if target and target not in seen:
                    seen.add(target)
                    queue.append(chain + [target])


def for_tests(tree: Tree) -> set[str]:
    """Tests, case tables, and the headers that nothing but those includes."""
    found = {name for name in tree.names if is_test(name) or name.endswith("_cases.h")}
    includers: dict[str, set[str]] = {name: set() for name in tree.names}
    for name in tree.names:
        for _, _, target in tree.includes[name]:
            if target:
                includers[target].add(name)
    while more := {name for name in tree.names if name not in found and name.endswith(".h") and includers[name]
                   and folder_of(name) in LINE_OF and includers[name] <= found}:
        found |= more
    return found


def check_direction(name: str, line: int, target: str, testing: set[str]) -> str | None:
    mine, theirs = folder_of(name), folder_of(target)
    if theirs == "harness" or target.endswith("_cases.h"):
        what = "harness" if theirs == "harness" else "a case table"
        if not (name in testing or mine in ("harness", "apps")):
            return f"{name}:{line}: includes {what} ({target}); only tests, benches, case tables and apps may"
    if mine == "ops" and theirs == "ops" and op_of(name) != op_of(target):
        other = op_of(target)
        reference = target.endswith("_ref.h") and (is_test(name) or name.endswith(("_ref.cpp", "_ref.h", "_cases.h")))
        composition = name == f"src/ops/{op_of(name)}/{op_of(name)}.cpp" and target == f"src/ops/{other}/{other}.h"
        if not (reference or composition):
            return (f"{name}:{line}: op {op_of(name)} includes op {other} ({target}); only _ref.cpp and tests may include "
                    f"another op's _ref.h, and <op>.cpp its public header; shared kernel code moves down to simd or cuda")
        return None
    if mine in OUTSIDE or mine == theirs or "include" in (mine, theirs):
        return None
    if mine not in LINE_OF or theirs not in LINE_OF:
        unknown = mine if mine not in LINE_OF else theirs
        return f"{name}:{line}: folder {unknown} has no line in tools/check_layers.py"
    harness_of_test = theirs == "harness" and name in testing
    if LINE_OF[theirs] >= LINE_OF[mine] and not harness_of_test:
        return f"{name}:{line}: {mine} (line {LINE_OF[mine]}) includes {target}, which is on line {LINE_OF[theirs]}"
    return None


def check_words(name: str, text: str) -> list[str]:
    code = source_tree.code_only(text)
    found = []
    if not name.startswith("src/cuda/ptx/"):
        found += [f"{name}:{source_tree.line_of(code, m.start())}: asm outside src/cuda/ptx/" for m in ASM.finditer(code)]
    if name != "src/cuda/launch.h":
        found += [f"{name}:{source_tree.line_of(code, m.start())}: kernel launch outside src/cuda/launch.h" for m in LAUNCH.finditer(code)]
    return found


def check_reach(tree: Tree, name: str, banned: re.Pattern, rule: str) -> list[str]:
    return [f"{name}: {rule} includes <{written}>, by way of {' -> '.join(f'{f}' for f in chain)}:{line}"
            for chain, line, written in tree.reached(name) if banned.match(written)]


def check_cycles(tree: Tree) -> list[str]:
    state, found = {}, []  # 1: on the path, 2: done

    def visit(name: str, path: list[str]) -> None:
        state[name] = 1
        for _, _, target in tree.includes[name]:
            if target and state.get(target) == 1:
                found.append("cycle: " + " -> ".join(path[path.index(target):] + [target]))
            elif target and target not in state:
                visit(target, path + [target])
        state[name] = 2

    for name in tree.names:
        if name not in state:
            visit(name, [name])
    return found


def check(root: Path) -> tuple[list[str], str]:
    tree = Tree(root)
    testing = for_tests(tree)
    findings = list(tree.missing)
    edges = 0
    for name in tree.names:
        for line, _, target in tree.includes[name]:
            if target:
                edges += 1
                findings += [finding for finding in [check_direction(name, line, target, testing)] if finding]
        findings += check_words(name, tree.text[name])
        if name.endswith(".cu"):
            findings += check_reach(tree, name, NOT_IN_CU, "a .cu file")
        if name.startswith("include/"):
            findings += check_reach(tree, name, CUDA_OR_TORCH, "a public header")
    return findings + check_cycles(tree), f"{len(tree.names)} files, {edges} includes, one direction"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    sys.exit(source_tree.report("check_layers", *check(parser.parse_args().root)))
