#!/usr/bin/env python3
"""The checks can fail: every rule finds the violation planted for it, and a clean tree passes."""
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import check_layers
import check_symbols
import check_tree
import source_tree

OP = {"src/ops/norm/norm.md": "# norm\n",
      "src/ops/norm/norm.h": '#pragma once\n#include "core/context.h"\n',
      "src/ops/norm/norm.cpp": '#include "ops/norm/norm.h"\n',
      "src/ops/norm/norm_ref.h": "#pragma once\n",
      "src/ops/norm/norm_ref.cpp": '#include "ops/norm/norm.h"\nvoid norm_ref() { for (;;) break; }\n',
      "src/ops/norm/norm_cases.h": '#pragma once\n#include "harness/case.h"\n',
      "src/ops/norm/norm_test.cpp": '#include "harness/case.h"\n#include "ops/norm/norm_cases.h"\n'}
CLEAN = {"src/core/context.h": "#pragma once\n#include <cstdint>\n",
         "src/harness/case.h": '#pragma once\n#include "core/context.h"\n',
         "include/octavo/ops.h": '#pragma once\n#include "ops/norm/norm.h"\n',
         "apps/octavo/cmd_demo.cpp": '#include "harness/case.h"\n',
         "dev": "cat <<'HELP'\n  demo [options]     shows\n  test               tests\nHELP\n",
         "README.md": "Run `./dev demo`, see [the op](src/ops/norm/norm.md).\n\n```bash\n./dev test\noctavo demo -n 3\n```\n",
         **OP}


class PlantedViolations(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="octavo-checks-"))
        self.addCleanup(shutil.rmtree, self.root)
        subprocess.run(["git", "init", "-q", str(self.root)], check=True)
        for name, text in CLEAN.items():
            self.write(name, text)

    def write(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def expect(self, check, *wanted):
        """`check` finds exactly one thing for each of `wanted`, and each holds those words."""
        findings, _ = check(self.root)
        self.assertEqual(len(findings), len(wanted), findings)
        for words in wanted:
            self.assertTrue(any(words in finding for finding in findings), (words, findings))

    def test_clean_tree_passes(self):
        self.expect(check_layers.check)
        self.expect(check_tree.check)

    # ---- layers ----

    def layers(self, name, text, *wanted):
        self.write(name, text)
        self.expect(check_layers.check, *wanted)

    def test_lower_layer_includes_higher(self):
        self.layers("src/core/a.cpp", '#include "ops/norm/norm.h"\n', "src/core/a.cpp:1: core (line 1) includes src/ops/norm/norm.h")

    def test_neighbours_on_one_line(self):
        self.write("src/formats/f.h", "#pragma once\n")
        self.layers("src/simd/a.h", '#include "formats/f.h"\n', "simd (line 2) includes")

    def test_unknown_folder(self):
        self.layers("src/gadgets/a.h", '#include "core/context.h"\n', "folder gadgets has no line")

    def test_op_includes_another_op(self):
        self.write("src/ops/other/other_ref.h", "#pragma once\n")
        self.write("src/ops/other/other.h", "#pragma once\n")
        self.layers("src/ops/norm/norm_simd.cpp", '#include "ops/other/other.h"\n', "op norm includes op other")
        self.layers("src/ops/norm/norm_simd.cpp", '#include "ops/other/other_ref.h"\n', "op norm includes op other")

    def test_reference_and_test_may_use_another_reference(self):
        self.write("src/ops/other/other_ref.h", "#pragma once\n")
        self.write("src/ops/norm/norm_test.cpp", '#include "ops/other/other_ref.h"\n')
        self.layers("src/ops/norm/norm_ref.cpp", '#include "ops/other/other_ref.h"\n')

    def test_library_includes_harness(self):
        self.layers("src/ops/norm/norm.cpp", '#include "harness/case.h"\n', "norm.cpp:1: includes harness")

    def test_header_that_only_tests_include_may_use_harness(self):
        self.write("src/core/a_test.cpp", '#include "core/sample.h"\n')
        self.layers("src/core/sample.h", '#include "harness/case.h"\n')
        self.layers("src/core/a.cpp", '#include "core/sample.h"\n', "src/core/sample.h:1: includes harness")

    def test_library_includes_case_table(self):
        self.layers("src/ops/norm/norm.cpp", '#include "ops/norm/norm_cases.h"\n', "norm.cpp:1: includes a case table")

    def test_missing_include(self):
        self.layers("src/core/a.cpp", '\n#include "core/nowhere.h"\n', "src/core/a.cpp:2")

    def test_cycle(self):
        self.write("src/core/a.h", '#include "core/b.h"\n')
        self.layers("src/core/b.h", '#include "core/a.h"\n', "cycle: src/core/a.h -> src/core/b.h -> src/core/a.h")

    def test_asm(self):
        self.layers("src/core/a.cpp", 'void f() { asm volatile("nop"); }\n', "asm outside")
        self.layers("src/core/a.cpp", '// asm("nop")\nconst char* s = "asm(";\n')
        self.layers("src/cuda/ptx/a.h", 'void f() { asm volatile("nop"); }\n')

    def test_launch(self):
        self.layers("src/ops/norm/norm.cu", "void f() { kernel<<<1, 2>>>(); }\n", "norm.cu:1: kernel launch")
        self.layers("src/ops/norm/norm.cu", "/* k<<<1,2>>> */\nvoid f() {\n cudaLaunchKernelEx(0); }\n", "norm.cu:3: kernel launch")
        self.layers("src/ops/norm/norm.cu", "")
        self.layers("src/cuda/launch.h", "void f() { kernel<<<1, 2>>>(); }\n")

    def test_fmt_reaches_cu_through_a_header(self):
        self.write("src/core/context.h", "#include <fmt/format.h>\n")
        self.layers("src/ops/norm/norm.cu", '#include "ops/norm/norm.h"\n', "norm.cu: a .cu file includes <fmt/format.h>")

    def test_cuda_reaches_public_header(self):
        self.layers("src/core/context.h", "#include <cuda_runtime.h>\n", "include/octavo/ops.h: a public header includes <cuda_runtime.h>")

    # ---- tree ----

    def tree(self, name, content, *wanted):
        self.write(name, content)
        self.expect(check_tree.check, *wanted)

    def test_long_file_and_its_exception(self):
        self.tree("src/core/a.cpp", "\n" * 601, "src/core/a.cpp: 601 lines")
        self.tree("tools/long_files.txt", "src/core/a.cpp: a table made by a tool\n")
        self.tree("tools/long_files.txt", "src/core/a.cpp:\n", "say why")
        self.write("src/core/a.cpp", "\n" * 600)
        self.tree("tools/long_files.txt", "src/core/a.cpp: a table made by a tool\n", "needs no exception")
        self.tree("tools/long_files.txt", "src/core/b.cpp: a table made by a tool\n", "does not exist")

    def test_long_program_file(self):
        self.tree("apps/octavo/cmd_demo.cpp", "\n" * 251, "at most 250")

    def test_banned_names(self):
        self.tree("src/core/utils.h", "", "'utils.h' says nothing")
        (self.root / "src/core/utils.h").unlink()
        self.tree("src/common/a.h", "", "'common' says nothing")

    def test_op_slots(self):
        for slot in ("norm.md", "norm.cpp", "norm_ref.cpp", "norm_cases.h", "norm_test.cpp"):
            (self.root / "src/ops/norm" / slot).unlink()
            findings, _ = check_tree.check(self.root)
            self.assertTrue(any(f"norm/: {slot} is missing" in f for f in findings), findings)
            self.write(f"src/ops/norm/{slot}", OP[f"src/ops/norm/{slot}"])

    def test_op_stem(self):
        self.tree("src/ops/norm/fast.cpp", "", "fast.cpp: does not begin with the op's stem")
        (self.root / "src/ops/norm/fast.cpp").unlink()
        self.tree("src/ops/norm/normal.cpp", "", "normal.cpp: does not begin with the op's stem")

    def test_reference_is_plain_and_short(self):
        self.tree("src/ops/norm/norm_ref.cpp", "#include <immintrin.h>\nauto f() { return _mm256_setzero_ps(); }\n",
                  "norm_ref.cpp:1", "norm_ref.cpp:2")
        self.tree("src/ops/norm/norm_ref.cpp", "\n" * 120, "under 120")

    def test_umbrella_header(self):
        self.tree("include/octavo/ops.h", "", "no line for the op norm")
        self.tree("include/octavo/ops.h", CLEAN["include/octavo/ops.h"] + '#include "ops/gone/gone.h"\n', "gone is no folder")

    def test_large_and_binary_files(self):
        self.tree("models/demo/model.safetensors", b"\0" * (16 * 2**20 + 1), "16777217 bytes")
        self.tree("models/demo/model.safetensors", b"\0")
        self.tree("src/core/blob.dat", b"a\0b", "blob.dat: binary")
        self.tree("src/core/blob.dat", b"\x7fELF\2", "a compiled program")

    def test_documents(self):
        self.tree("docs/page.md", "`./dev fly`\n", "page.md:1: ./dev has no command fly")
        self.tree("docs/page.md", "\n```bash\n$ octavo fly\n```\n", "page.md:3: octavo has no command fly")
        self.tree("docs/page.md", "[a](gone.md)\n", "links to gone.md")
        self.tree("docs/page.md", "octavo flies; [a](../README.md#top), [b](https://example.org)\n")

    # ---- symbols ----

    def objects(self, isa, source):
        """Compiles `source` as the one object of an instruction set, and checks it."""
        self.write("src/ops/norm/norm_avx512.cpp" if isa == "avx512" else "src/ops/norm/norm_avx2.cpp", source)
        name = f"src/ops/norm/norm_{isa}.cpp"
        obj = self.root / f"build/cpu/CMakeFiles/octavo_norm_for_{isa}.dir/{name}.o"
        obj.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["g++", "-std=c++20", "-O0", "-c", str(self.root / name), "-o", str(obj)], check=True)
        return check_symbols.check(self.root, self.root / "build/cpu")[0]

    def test_symbols(self):
        self.write(".gitignore", "build/\n")
        self.assertEqual(self.objects("avx2", "namespace octavo::avx2 { inline int f() { return 1; } int g() { return f(); } }"), [])
        found = self.objects("avx2", "inline int shared() { return 1; } namespace octavo::avx2 { int g() { return shared(); } }")
        self.assertEqual(len(found), 1, found)
        self.assertIn("weak symbol shared() is outside octavo::avx2", found[0])
        found = self.objects("avx2", "namespace octavo::avx512 { int g() { return 1; } }")
        self.assertIn("octavo::avx512::g() is outside octavo::avx2", found[0])
        found = self.objects("avx2", "template <class T> T twice(T x) { return x + x; } namespace octavo::avx2 { int g() { return twice(2); } }")
        self.assertIn("weak symbol int twice<int>(int)", found[0])

    def test_symbols_without_objects(self):
        self.write("src/ops/norm/norm_simd.cpp", "")
        self.expect(lambda root: check_symbols.check(root, root / "build/cpu"), "0 objects for one instruction set, the sources call for 2")


class Stripping(unittest.TestCase):
    def test_code_only(self):
        text = "int a = 1'000; // asm(\nauto s = R\"x(asm(\")x\"; char c = '\"'; f(\"\\\"asm(\");"
        code = source_tree.code_only(text)
        self.assertEqual(len(code), len(text))
        self.assertNotIn("asm", code)
        self.assertIn("1'000;", code)
        self.assertIn("f(", code)


class DevScript(unittest.TestCase):
    """./dev answers from any folder; what is used wrongly ends with 2 and one line that says why."""
    DEV = Path(__file__).resolve().parent.parent / "dev"

    def run_dev(self, *arguments):
        return subprocess.run([str(self.DEV), *arguments], cwd="/", capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def test_help_names_every_command(self):
        shown = self.run_dev("help")
        self.assertEqual(shown.returncode, 0, shown.stderr)
        handled = re.findall(r"^  ([a-z |]+)\) ", self.DEV.read_text().partition("case $command in")[2], re.M)
        commands = {word for alternatives in handled for word in alternatives.split(" | ")} - {"help"}
        self.assertGreater(len(commands), 10)
        for command in commands:
            self.assertIn(f"\n  {command} ", shown.stdout)

    def test_wrong_use(self):
        for arguments, words in [(["fly"], "unknown command 'fly'"), (["test", "--fast"], "unknown option --fast"),
                                 (["bench"], "which op?"), (["build", "nowhere"], "no preset 'nowhere'"),
                                 (["fuzz", "x", "1"], "there is no target 'x'"), (["fuzz", "all"], "for how many seconds?"),
                                 (["setup", "--all"], "unknown option --all"), (["-j", "many"], "-j needs a number")]:
            result = self.run_dev(*arguments)
            self.assertEqual(result.returncode, 2, (arguments, result.stderr))
            self.assertIn(words, result.stderr.splitlines()[-1])


if __name__ == "__main__":
    unittest.main(verbosity=0)
