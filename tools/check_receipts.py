#!/usr/bin/env python3
"""Every op with CUDA kernels has a receipt of exactly this code, or a line in receipts/pending.txt that says why not.

  check_receipts.py [BUILD]    default build/cuda-ci: recomputes the keys from its instructions and case tables, applies the
                               tolerances to the stored measurements again, and compares the stored digests of exact outputs
                               with those that the CPU reference gives (octavo_verify --digests)
  check_receipts.py --quick    without a build: presence, form, tolerances, pending list
  --release                    the pending list must be empty
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

import receipts
import sass
import source_tree

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 150_000
LEAST_CASES, LEAST_REPEATS = 300, 100
FIELDS = {"schema": int, "op": str, "gpu": str, "driver": str, "cuda": str, "nvcc": str, "date": str, "key": dict, "counts": dict,
          "repeats": int, "sanitizers": dict, "floats": list, "codes": list, "exact": dict}
ROUNDED = 1 + 1e-4  # stored with five digits
CODE_STEPS = 0.5 + 2.0**-10


def pending_ops(root: Path, ops: list[str], found: list[str]) -> dict[str, str]:
    """op -> reason. An op that does not exist, or a line without a reason, is a finding."""
    path, pending = root / "receipts/pending.txt", {}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], start=1):
        if not line.strip() or line.startswith("#"):
            continue
        op, _, reason = line.partition(":")
        if len(reason.split()) < 3:
            found.append(f"receipts/pending.txt:{number}: say why {op} has no receipt (op: reason)")
        if op not in ops:
            found.append(f"receipts/pending.txt:{number}: {op} is no op with CUDA kernels")
        pending[op] = reason.strip()
    return pending


def check_form(name: str, path: Path, receipt: dict, op: str) -> list[str]:
    wrong = [f"{name}: no {field}" for field, kind in FIELDS.items() if not isinstance(receipt.get(field), kind)]
    if wrong:
        return wrong
    found = []
    if receipt["schema"] != receipts.SCHEMA:
        found.append(f"{name}: schema {receipt['schema']}, this tool reads {receipts.SCHEMA}")
    if receipt["op"] != op:
        found.append(f"{name}: is of op {receipt['op']}")
    if path.stat().st_size > MAX_BYTES:
        found.append(f"{name}: {path.stat().st_size} bytes, the most is {MAX_BYTES}")
    key = receipt["key"]
    if key.get("sha256") != receipts.key_of(key.get("sass", ""), key.get("cases", ""), key.get("harness", 0)):
        found.append(f"{name}: its key is not the digest of its parts")
    counts = receipt["counts"]
    if counts.get("failed") != 0 or counts.get("cases", 0) < LEAST_CASES:
        found.append(f"{name}: {counts.get('cases')} cases with {counts.get('failed')} failed; at least {LEAST_CASES} with 0")
    if receipt["repeats"] < LEAST_REPEATS:
        found.append(f"{name}: {receipt['repeats']} bitwise repeats, at least {LEAST_REPEATS}")
    found += [f"{name}: {tool} was not run clean (tools/gpu_session.sh sanitize)"
              for tool in receipts.SANITIZERS if not receipt["sanitizers"].get(tool)]
    measured = (sum(g["outputs"] for g in receipt["floats"] + receipt["codes"]) + sum(len(d) for d in receipt["exact"].values()))
    if measured == 0 or measured > counts.get("outputs", 0):
        found.append(f"{name}: {measured} measured outputs of {counts.get('outputs')}")
    return found


def check_tolerances(name: str, receipt: dict) -> list[str]:
    """The rule of harness/compare.cpp on what was measured nearest to it."""
    found = []
    for g in receipt["floats"]:
        (max_case, max_y, max_p, a), (mean_case, mean_y, mean_p, mean_a), (nmse_case, nmse, cap) = g["max"], g["mean"], g["nmse"]
        group = " ".join(g["group"])
        if not 0 <= max_y <= (2 * max_p + a) * ROUNDED:
            found.append(f"{name}: {group}: {max_case}: largest error {max_y} > 2 * {max_p} + {a}")
        if not 0 <= mean_y <= (1.25 * mean_p + mean_a / 8) * ROUNDED:
            found.append(f"{name}: {group}: {mean_case}: mean error {mean_y} > 1.25 * {mean_p} + {mean_a} / 8")
        if not 0 <= nmse <= cap * (64 if g["group"][0] == "bf16" else 1) * ROUNDED:
            found.append(f"{name}: {group}: {nmse_case}: NMSE {nmse} above {cap}")
    for g in receipt["codes"]:
        case, steps = g["max"]
        if not steps <= CODE_STEPS * ROUNDED:
            found.append(f"{name}: {' '.join(g['group'])}: {case}: a code is {steps} steps off, at most {CODE_STEPS:.4f}")
    return found


def check_key(name: str, receipt: dict, sass_sha256: str, table: dict, harness: int) -> list[str]:
    now = {"sass": (sass_sha256, "its kernels' instructions"), "cases": (table["table"], "its case table"),
           "harness": (harness, "the harness")}
    changed = [words for part, (value, words) in now.items() if receipt["key"].get(part) != value]
    return [f"{name}: stale: {', '.join(changed)} changed since; run ./dev verify {receipt['op']} on a GPU"] if changed else []


def check_digests(name: str, receipt: dict, table: dict) -> list[str]:
    found = []
    for case, outputs in table["digests"].items():
        for output, digest in outputs.items():
            stored = receipt["exact"].get(case, {}).get(output)
            if stored != digest:
                found.append(f"{name}: {case}: {output} has digest {stored}, the CPU reference gives {digest}")
    if len(found) > 5:
        found[5:] = [f"{name}: and {len(found) - 5} more digests differ"]
    return found


def reference_tables(build: Path) -> dict:
    program = build / "tests/gpu/octavo_verify"
    if not program.exists():
        raise sass.ToolMissing(f"{program} is not built: ./dev build cuda-ci, or --quick")
    return json.loads(subprocess.run([str(program), "--digests"], check=True, capture_output=True, text=True).stdout)


def check(root: Path, build: Path | None, gpu: str = "h200") -> tuple[list[str], str]:
    ops = sorted({Path(name).parent.name for name in source_tree.files(root) if name.startswith("src/ops/") and name.endswith(".cu")})
    found: list[str] = []
    pending = pending_ops(root, ops, found)
    tables = reference_tables(build) if build else None
    compared = 0
    for op in ops:
        path = root / "receipts" / gpu / f"{op}.json"
        name = str(path.relative_to(root))
        if op in pending:
            continue
        if not path.exists():
            found.append(f"{name}: missing; run ./dev verify {op} on a GPU, or give the reason in receipts/pending.txt")
            continue
        try:
            receipt = json.loads(path.read_text())
            wrong = check_form(name, path, receipt, op) or check_tolerances(name, receipt)
            if tables and not wrong:
                table = tables["ops"].get(op) or {"table": "none", "digests": {}}
                wrong = check_key(name, receipt, receipts.sass_digest(build, op), table, tables["harness"])
                wrong = wrong or check_digests(name, receipt, table)
                compared += sum(len(outputs) for outputs in table["digests"].values())
        except (ValueError, TypeError, KeyError, AttributeError) as e:
            wrong = [f"{name}: not a receipt ({type(e).__name__}: {e})"]
        found += wrong
    for path in sorted((root / "receipts").glob("*/*.json")):
        if path.stem not in ops:
            found.append(f"{path.relative_to(root)}: {path.stem} is no op with CUDA kernels")
    print(f"pending receipts: {len(pending)}" + (" (a release needs 0)" if pending else ""))
    for op, reason in pending.items():
        print(f"  {op}: {reason}")
    done = len(ops) - len(pending)
    return found, f"{done} of {len(ops)} ops have receipts" + (f" of this code, {compared} digests recomputed" if build else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, nargs="?", default=ROOT / "build/cuda-ci")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--release", action="store_true")
    parser.add_argument("--root", type=Path, default=ROOT)
    options = parser.parse_args()
    try:
        found, summary = check(options.root, None if options.quick else options.build.resolve())
        if options.release:
            found += [f"receipts/pending.txt: a release cannot wait for {op}" for op in pending_ops(options.root, [], [])]
        return source_tree.report("check_receipts", found, summary)
    except (sass.ToolMissing, subprocess.CalledProcessError) as e:
        print(f"check_receipts: {e}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
