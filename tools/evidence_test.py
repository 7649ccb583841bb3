#!/usr/bin/env python3
"""The evidence tools can fail: every rule of check_receipts, sass_gate and report finds what is planted for it."""
import json
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import check_receipts
import gemm_results
import receipts
import report
import sass
import sass_gate


def raw_result(cases: int = 300) -> dict:
    names = [f"{i + 1}x{16 * (i + 1)}/f16/residual/y" for i in range(cases)]
    return {"op": "norm", "gpu": "NVIDIA H200", "compute_capability": 90, "driver": "13.0", "cuda": "13.0",
            "key": {"sass": "ab" * 32, "cases": "1234", "harness": 1}, "repeats": 100,
            "counts": {"cases": cases, "failed": 0, "outputs": 3 * cases},
            "floats": [[name, "y", "f16", 1e-3, 1e-4, 1e-8, 6e-4, 1e-4, 1e-4, 1e-6] for name in names],
            "codes": [[name, "y_codes", 0.5] for name in names], "exact": [[name, "u", "00ff"] for name in names]}


CLEAN = dict.fromkeys(receipts.SANITIZERS, 40)


class Receipts(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="octavo-evidence-"))
        self.addCleanup(shutil.rmtree, self.root)
        subprocess.run(["git", "init", "-q", str(self.root)], check=True)
        (self.root / "src/ops/norm").mkdir(parents=True)
        (self.root / "src/ops/norm/norm.cu").write_text("")
        (self.root / "receipts/h200").mkdir(parents=True)
        self.path = self.root / "receipts/h200/norm.json"

    def write(self, raw: dict, sanitizers=CLEAN, **changed):
        self.path.write_text(receipts.text_of_receipt({**receipts.receipt_of(raw, sanitizers, "13.0.88"), **changed}))

    def expect(self, *wanted):
        found, _ = check_receipts.check(self.root, None)
        self.assertEqual(len(found), len(wanted), found)
        for words in wanted:
            self.assertTrue(any(words in finding for finding in found), (words, found))

    def test_right(self):
        self.write(raw_result())
        self.expect()

    def test_missing_and_pending(self):
        self.expect("norm.json: missing")
        pending = self.root / "receipts/pending.txt"
        pending.write_text("norm: no run of it yet\n")
        self.expect()
        pending.write_text("norm: later\n")
        self.expect("say why")
        pending.write_text("norm: no run of it yet\ngone: no run of it yet\n")
        self.expect("gone is no op")

    def test_form(self):
        self.path.write_text("[]")
        self.expect("not a receipt")
        self.path.write_text("{")
        self.expect("not a receipt")
        self.write(raw_result(299))
        self.expect("299 cases")
        self.write({**raw_result(), "repeats": 99})
        self.expect("99 bitwise repeats")
        self.write(raw_result(), {**CLEAN, "racecheck": 0})
        self.expect("racecheck was not run clean")
        self.write(raw_result(), key={"sass": "cd", "cases": "1234", "harness": 1, "sha256": "0"})
        self.expect("its key is not the digest")
        self.write(raw_result(), op="other")
        self.expect("is of op other")
        self.write(raw_result(), note="x" * 150_000)
        self.expect("the most is 150000")

    def test_tolerances(self):
        for column, value, words in [(3, 1.4e-3, "largest error"), (4, 2e-4, "mean error"), (5, 2e-6, "NMSE")]:
            raw = raw_result()
            raw["floats"][123][column] = value  # one of 300: grouping must not hide it
            self.write(raw)
            self.expect(words)
        raw = raw_result()
        raw["codes"][77][2] = 0.51
        self.write(raw)
        self.expect("0.51 steps off")

    def test_stale_and_digests(self):
        self.write(raw_result())
        receipt = json.loads(self.path.read_text())
        table = {"table": "1234", "digests": {"1x16/f16/residual/y": {"u": "00ff"}}}
        self.assertEqual(check_receipts.check_key("r", receipt, "ab" * 32, table, 1), [])
        self.assertIn("instructions", check_receipts.check_key("r", receipt, "cd" * 32, table, 1)[0])
        self.assertIn("case table", check_receipts.check_key("r", receipt, "ab" * 32, {**table, "table": "1"}, 1)[0])
        self.assertIn("the harness", check_receipts.check_key("r", receipt, "ab" * 32, table, 2)[0])
        self.assertEqual(check_receipts.check_digests("r", receipt, table), [])
        table["digests"]["1x16/f16/residual/y"]["u"] = "00fe"
        self.assertIn("the CPU reference gives 00fe", check_receipts.check_digests("r", receipt, table)[0])
        table["digests"] = {"9x9/f16": {"u": "1"}}
        self.assertIn("digest None", check_receipts.check_digests("r", receipt, table)[0])

    def test_refused(self):
        raw = raw_result()
        raw["counts"]["failed"] = 1
        with self.assertRaisesRegex(receipts.Refused, "1 of 300 cases failed"):
            receipts.receipt_of(raw, CLEAN, "")
        raw = raw_result()
        raw["key"]["sass"] = None
        with self.assertRaisesRegex(receipts.Refused, "without --keys"):
            receipts.receipt_of(raw, CLEAN, "")
        raw = raw_result()
        raw["floats"][0][3] = None
        with self.assertRaisesRegex(receipts.Refused, "no number"):
            receipts.receipt_of(raw, CLEAN, "")

    def test_sanitizer_logs(self):
        (self.root / "memcheck.log").write_text("norm   40 cases,   0 failed\n========= ERROR SUMMARY: 0 errors\n")
        (self.root / "racecheck.log").write_text("norm   40 cases,   0 failed\n========= RACECHECK SUMMARY: 1 hazard displayed\n")
        (self.root / "synccheck.log").write_text("norm   40 cases,   0 failed\n")
        (self.root / "initcheck.log").write_text("norm   40 cases,   2 failed\n========= ERROR SUMMARY: 0 errors\n")
        self.assertEqual(receipts.sanitizer_counts(self.root), ({"norm": {"memcheck": 40}}, 2))

    def test_ops_before_the_first_error_of_a_log(self):
        clean, end = "norm   40 cases,   0 failed\n", "========= ERROR SUMMARY: 3 errors\n"
        error = "========= Invalid __global__ read of size 16 bytes\n=========     at gemm\n"
        (self.root / "memcheck.log").write_text(clean + error + "gemm   9 cases,   0 failed\nrope   7 cases,   0 failed\n" + end)
        self.assertEqual(receipts.sanitizer_counts(self.root), ({"norm": {"memcheck": 40}}, 1))
        (self.root / "memcheck.log").write_text(error + clean + end)
        self.assertEqual(receipts.sanitizer_counts(self.root), ({}, 1))


class SassGate(unittest.TestCase):
    BUDGET = {"many_kernels": {}, "rules": [{"op": "norm", "kernel": ".*", "require": [r"LDG\S*\.128"], "forbid": [r"DADD\b"], "why": "w"}],
              "registers": {"sm_90a": {"norm": {"k<float>": 32}}}}

    def judge(self, *kernels: sass.Kernel, op: str = "norm", budget: dict | None = None) -> list[str]:
        return sass_gate.judge({"sm_90a": {op: list(kernels)}}, budget or self.BUDGET)

    def kernel(self, **changed) -> sass.Kernel:
        fields = {"name": "k<float>", "registers": 32, "stack_bytes": 0, "local_bytes": 0,
                  "instructions": ("LDG.E.128 R4, desc[UR4][R2.64]", "EXIT")}
        return sass.Kernel(**{**fields, **changed})

    def test_right(self):
        self.assertEqual(self.judge(self.kernel()), [])
        self.assertEqual(self.judge(self.kernel(registers=31)), [])

    def test_wrong(self):
        load = self.kernel().instructions
        for kernel, words in [(self.kernel(registers=33), "33 registers, the budget has 32"), (self.kernel(stack_bytes=8), "8 bytes of stack"),
                              (self.kernel(local_bytes=16), "16 of local"), (self.kernel(instructions=(*load, "@!P0 STL [R1], R2")), "1 spill"),
                              (self.kernel(instructions=("LDG.E.64 R4, [R2]",)), "lacks LDG"),
                              (self.kernel(instructions=(*load, "@P1 DADD R2, R2, R4")), "1 instructions DADD")]:
            found = self.judge(kernel)
            self.assertEqual(len(found), 1, found)
            self.assertIn(words, found[0])

    def test_overtaken_loads(self):
        load, arrival = self.kernel().instructions[0], "@!P0 SYNCS.ARRIVE.TRANS64.A1T0 RZ, [UR4+0x60], RZ"
        waits = [("IADD3 R1, R7, R1, RZ",), ("IMMA.16832.S8.S8 R12, R4.ROW, R20.COL, R12",), ("VOTE.ANY R6, PT, P0",)]
        loads = [("LDS.128 R4, [R2]",), ("LDSM.16.M88.4 R4, [R2]",), ("@P1 LDS.64 R6, [R2+0x10]",)]
        for words in loads:
            overtaken = (load, *words, "NOP", arrival, "EXIT")
            self.assertIn("overtakes 1 loads", self.judge(self.kernel(instructions=overtaken))[0])
            self.assertEqual(self.judge(self.kernel(instructions=(load, *words, *waits[0], *waits[1], arrival, "EXIT"))), [])
        self.assertEqual(len(sass.overtaken_loads((*loads[0], "LDS R30, [R4]", *waits[2], arrival))), 1)
        rule = {"op": "norm", "kernel": ".*", "later_arrival": True, "why": "w"}
        allowed = {**self.BUDGET, "rules": [*self.BUDGET["rules"], rule]}
        self.assertEqual(self.judge(self.kernel(instructions=(load, *loads[0], arrival)), budget=allowed), [])

    def test_missing(self):
        found = self.judge(self.kernel(), self.kernel(name="new<float>"))
        self.assertEqual(len(found), 1, found)
        self.assertIn("no line in sass_budget.json", found[0])
        self.assertIn("not in the build", self.judge()[0])
        self.assertTrue(any("fits no kernel" in f for f in self.judge()))
        many = [self.kernel(name=f"k{i}") for i in range(41)]
        self.assertTrue(any("41 kernels, at most 40" in f for f in self.judge(*many)))

    def test_names_without_hashes(self):
        self.assertEqual(sass._UNNAMED.sub(r"\1", "_ZN6octavo44_GLOBAL__N__470e9cd5_11_rms_norm_cu_d2b1c26d17rms_norm_in_loopsIfEE"),
                         "_ZN6octavorms_norm17rms_norm_in_loopsIfEE")


class Report(unittest.TestCase):
    ROW = {"case": "8x8", "variant": "v", "bytes": 64, "regime": "r"}
    RESULT = {"schema": 1, "op": "norm", "gpu": "NVIDIA H200", "date": "2026-01-01T00:00:00Z", "commit": "c", "ceilings": {"copy_gbs": 4000},
              "rows": [{**ROW, "impl": "octavo", "ms": {"p50": 0.01}, "gbs": 3800, "pct_ceiling": 95},
                       {**ROW, "impl": "liger", "ms": {"p50": 0.03}, "gbs": 1000}, {**ROW, "impl": "torch", "ms": {"p50": 0.02}, "gbs": 1900}]}

    def test_documents(self):
        root = Path(tempfile.mkdtemp(prefix="octavo-report-"))
        self.addCleanup(shutil.rmtree, root)
        (root / "bench/results/h200").mkdir(parents=True)
        (root / "docs").mkdir()
        (root / "bench/results/h200/norm.json").write_text(json.dumps(self.RESULT))
        (root / "README.md").write_text("a\n<!-- results:h200 -->\nold\n<!-- /results -->\nb\n")
        wanted = report.documents(root)
        self.assertIn("| 8x8 | v | 10 us | 3800 | 95 % | torch | 20 us | 2.00x |", wanted[root / "docs/results.md"])
        readme = wanted[root / "README.md"]
        self.assertIn("| norm | 1 | 95 to 95 % | 2.00x in the geometric mean of 1, least 2.00x (8x8, torch) |", readme)
        self.assertNotIn("old", readme)
        self.assertTrue(readme.startswith("a\n<!-- results:h200 -->\n") and readme.endswith("<!-- /results -->\nb\n"))
        self.assertIn("<svg", wanted[root / "docs/results/h200_norm.svg"])

    def test_tables_of_the_int8_product(self):
        root = Path(tempfile.mkdtemp(prefix="octavo-report-"))
        self.addCleanup(shutil.rmtree, root)
        folder = root / "bench/results/h200"
        folder.mkdir(parents=True)
        row = {"case": "1x8x8", "regime": "burst", "shape": {"M": 1, "N": 8, "K": 8}, "variant": "", "tflops": 100.0, "gbs": 1.0}
        result = {"schema": 1, "op": "gemm_w8a8", "gpu": "NVIDIA H200", "date": "2026-01-01T00:00:00Z", "commit": "c", "ceilings": {"read_gbs": 4000}}
        product = {**result, "rows": [{**row, "impl": "octavo", "ms": {"p50": 0.1}}, {**row, "impl": "cutlass_int8", "variant": "tile", "ms": {"p50": 0.11}}]}
        after = {**result, "rows": [{**row, "case": f"1x8x8/{name}", "impl": "octavo", "ms": {"p50": ms}}
                                    for name, ms in (("scales", 1.0), ("gelu_erf", 1.05), ("op gelu_erf", 0.2), ("torch op gelu_erf", 0.3))]}
        (folder / "gemm_w8a8.json").write_text(json.dumps(product))
        (folder / "gemm_w8a8_policies.json").write_text(json.dumps(after))
        peers, _ = gemm_results.filling(root, "h200", "gemm_w8a8_peers")
        self.assertIn("| 1x8x8 | burst | 100.0 | 100 | 1.10 | - | - | - | - | tile |", peers)
        policies, _ = gemm_results.filling(root, "h200", "gemm_w8a8_after")
        self.assertIn("| gelu_erf | 1050.0 | 5.0 % | 200.0 | 75 % |", policies)
        text, drawings = gemm_results.filling(root, "h200", "gemm_w8a8_roofline")
        self.assertIn("h200_gemm_w8a8_roofline.svg", text)
        self.assertEqual(drawings[root / "docs/results/h200_gemm_w8a8_roofline.svg"].count("<circle"), 2)
        self.assertIsNone(gemm_results.filling(root, "h200", "norm"))

    def test_share_of_rate(self):
        rates = [(100, 2000.0), (10**6, 4000.0)]
        self.assertEqual(report.share_of_rate({"bytes": 9 * 10**5, "gbs": 3800}, rates, 4000), 0.95)
        self.assertIsNone(report.share_of_rate({"bytes": 9, "gbs": 1, "regime": report.DEPENDENT}, rates, 4000))
        product = {"bytes": 10**6, "gbs": 3800, "tflops": 1}
        self.assertEqual(report.share_of_rate({**product, "shape": {"M": 1}}, rates, 4000), 0.95)
        self.assertIsNone(report.share_of_rate({**product, "shape": {"M": 4096}}, rates, 4000))


if __name__ == "__main__":
    unittest.main(verbosity=0)
