#!/usr/bin/env python3
"""Objects that are compiled for one instruction set keep their code to themselves.

The linker keeps one copy of an inline function or template that several objects define. If one of them was compiled for
AVX-512, machines without it would crash in code that looks unrelated. So every symbol that such an object defines for others
must carry octavo::avx2 or octavo::avx512 in its (mangled) name, and only its own.
"""
import argparse
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import source_tree

OBJECT_FOLDER = re.compile(r"_for_(avx2|avx512)\.dir$")
MANGLED_NAMESPACE = {"avx2": "4avx2", "avx512": "6avx512"}
# NOTE: DW.ref.* are pointers that exception tables share; they hold no code.
NO_CODE = re.compile(r"^DW\.ref\.")


def nm(objects: list[Path]) -> str:
    return subprocess.run([os.environ.get("NM", "nm"), "-A", "--defined-only", "--extern-only", *map(str, objects)],
                          check=True, capture_output=True, text=True).stdout


def check_listing(listing: str, isa: str) -> list[str]:
    """`listing` as nm -A prints it: path:address type name."""
    found = []
    other = MANGLED_NAMESPACE["avx512" if isa == "avx2" else "avx2"]
    for line in listing.splitlines():
        match = re.match(r"(.*):[0-9a-f]* +(\w) (\S+)$", line)
        if not match or NO_CODE.match(match[3]):
            continue
        path, kind, name = match.groups()
        if MANGLED_NAMESPACE[isa] not in name or other in name:
            weak = "weak " if kind in "WwVvu" else ""
            plain = subprocess.run(["c++filt", name], capture_output=True, text=True).stdout.strip() or name
            found.append(f"{path}: {weak}symbol {plain} is outside octavo::{isa}")
    return found


def objects_of(build: Path) -> dict[str, list[Path]]:
    """Per instruction set, the objects whose source still exists."""
    objects = {isa: [] for isa in MANGLED_NAMESPACE}
    for folder in (build / "CMakeFiles").glob("*.dir"):
        if match := OBJECT_FOLDER.search(folder.name):
            objects[match[1]] += [o for o in sorted(folder.rglob("*.o")) if source_of(build, o).exists()]
    return objects


def source_of(build: Path, obj: Path) -> Path:
    inside = obj.relative_to(build / "CMakeFiles")
    return build.parent.parent / Path(*inside.parts[1:]).with_suffix("")


def check(root: Path, build: Path) -> tuple[list[str], str]:
    expected = 0  # objects that the sources call for; CMake makes none where there is no such instruction set
    x86 = platform.machine() in ("x86_64", "AMD64")
    for name in source_tree.files(root):
        if x86 and (match := re.match(r"src/ops/.*_(simd|avx2|avx512)\.cpp$", name)):
            expected += 2 if match[1] == "simd" else 1
    objects = objects_of(build) if build.is_dir() else {}
    count = sum(map(len, objects.values()))
    if count != expected:
        return [f"{build}: {count} objects for one instruction set, the sources call for {expected}: run ./dev build first"], ""
    findings = [finding for isa, paths in objects.items() if paths for finding in check_listing(nm(paths), isa)]
    return findings, f"{count} objects define nothing outside their own namespace"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--build", type=Path, help="a build folder directly under build/ (default: build/cpu)")
    arguments = parser.parse_args()
    sys.exit(source_tree.report("check_symbols", *check(arguments.root, arguments.build or arguments.root / "build/cpu")))
