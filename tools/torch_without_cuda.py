#!/usr/bin/env python3
"""Lets torch's wheel from PyPI, which for x86-64 is the one for CUDA, run on a CPU without the 3 GB of NVIDIA libraries that it links.

usage: torch_without_cuda.py FOLDER      (where `pip install --no-deps --target FOLDER torch` has put it)

Each missing library becomes an empty one of its name, whose functions return 100. The CUDA runtime itself (nvidia-cuda-runtime, 3 MB)
should be there: it is asked for the number of devices and for the texts of errors. For tests on machines without a GPU.
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path


def read_elf(option, path):
    return subprocess.run(["readelf", "-W", option, path], check=True, capture_output=True, text=True).stdout


def missing_libraries(folder, libraries):
    """Names of NVIDIA libraries that torch's link, but the driver's, which comes with a GPU."""
    needed = {name for path in libraries for name in re.findall(r"\(NEEDED\).*\[(.*)\]", read_elf("-d", path))}
    present = {path.name for path in [*folder.iterdir(), *folder.parents[1].glob("nvidia/*/lib/*")]} | {"libcuda.so.1"}
    return sorted(name for name in needed - present if re.match("lib(cu|nv|nccl)", name))


def undefined_functions(libraries):
    """{version: names}; version "" where the symbol has none."""
    functions = {}
    for path in libraries:
        for name, version in re.findall(r"UND (\w+)(?:@([\w.]+))?", read_elf("--dyn-syms", path)):
            functions.setdefault(version, set()).add(name)
    return functions


def functions_of(name, functions):
    """-> version and names of the functions that this library should have: by its version, else by what its names begin with."""
    stem = name[3:].partition(".")[0].lower()
    for version in (name, name.partition("_")[0][3:].upper()):  # libcublas.so.13: its own name; libnvshmem_host.so.3: NVSHMEM
        if version in functions:
            return version, functions[version]
    return "", {f for f in functions.get("", ()) if f.lower().startswith(stem)}


def make_library(folder, name, version, names):
    with tempfile.TemporaryDirectory() as scratch:
        source, script = Path(scratch, "empty.c"), Path(scratch, "versions")
        source.write_text("".join(f"long {f}(void) {{ return 100; }}\n" for f in sorted(names)))
        script.write_text(f"{version} {{ *; }};\n")
        subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-fno-builtin", f"-Wl,-soname,{name}", f"-Wl,--version-script={script}",
                        "-o", folder / name, source], check=True)


def main():
    folder = Path(sys.argv[1], "torch", "lib")
    libraries = sorted(folder.glob("lib*.so"))
    functions = undefined_functions(libraries)
    for name in missing_libraries(folder, libraries):
        make_library(folder, name, *functions_of(name, functions))


if __name__ == "__main__":
    main()
