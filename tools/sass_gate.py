#!/usr/bin/env python3
"""Every CUDA kernel, as compiled for each architecture of CI, keeps within sass_budget.json (design 6); needs no GPU.

  sass_gate.py [BUILD]       default build/cuda-ci. A kernel fails that spills (a stack, or STL/LDL), uses more registers than its
                             budget, has no line in the budget, lacks what a rule requires or has what it forbids, or where an
                             arrival at an mbarrier overtakes loads from shared memory; so does a line of the budget whose
                             kernel is gone.
  sass_gate.py --update      writes the figures of the budget; its rules are written by hand
  sass_gate.py --release [BUILD]   default build/cuda-86-89: sm_86 and sm_89, which have no budget but must not spill
"""
import argparse
import json
import re
import sys
from pathlib import Path

import sass

ROOT = Path(__file__).resolve().parent.parent
BUDGET = ROOT / "sass_budget.json"
ARCHS = ("sm_80", "sm_90a")
RELEASE_ARCHS = ("sm_86", "sm_89")
MOST_KERNELS = 40  # instantiations of an op and architecture (design 2)
SPILL = r"(STL|LDL)\b"
WIDE_LOAD = r"LDG\S*[.]128"


def measure(build: Path, archs: tuple[str, ...]) -> dict[str, dict[str, list[sass.Kernel]]]:
    """architecture -> op -> kernels."""
    return {arch: {op: sass.kernels_of_op(build, op, arch) for op in sass.objects_of_ops(build)} for arch in archs}


def rules_for(rules: list[dict], arch: str, op: str, kernel: str) -> list[dict]:
    return [r for r in rules if re.fullmatch(r["op"], op) and re.fullmatch(r["kernel"], kernel) and r.get("arch", arch) == arch]


def judge_spills(where: str, k: sass.Kernel) -> list[str]:
    spills = k.count(SPILL)
    if not (k.stack_bytes or k.local_bytes or spills):
        return []
    return [f"{where}: {k.stack_bytes} bytes of stack, {k.local_bytes} of local memory, {spills} spill instructions; must be 0"]


def judge_kernel(where: str, k: sass.Kernel, budget: int | None, rules: list[dict]) -> list[str]:
    found = judge_spills(where, k)
    if budget is None:
        found.append(f"{where}: {k.registers} registers and no line in sass_budget.json (--update writes one)")
    elif k.registers > budget:
        found.append(f"{where}: {k.registers} registers, the budget has {budget} (if that was measured to be right: --update)")
    for rule in rules:
        found += [f"{where}: lacks {p}: {rule['why']}" for p in rule.get("require", []) if k.count(p) == 0]
        found += [f"{where}: {k.count(p)} instructions {p}: {rule['why']}" for p in rule.get("forbid", []) if k.count(p)]
    overtaken = sass.overtaken_loads(k.instructions)
    if overtaken and not any(rule.get("later_arrival") for rule in rules):
        found.append(f"{where}: an arrival overtakes {len(overtaken)} loads from shared memory ({overtaken[0]}): "
                     "let it depend on what they load, or say in a rule which later arrival gives their memory away")
    return found


def judge(measured: dict, budget: dict) -> list[str]:
    found, used = [], [0] * len(budget["rules"])
    for arch, ops in measured.items():
        planned_ops = budget["registers"].get(arch, {})
        for op, kernels in ops.items():
            planned = planned_ops.get(op, {})
            if len(kernels) > MOST_KERNELS and op not in budget["many_kernels"]:
                found.append(f"{arch} {op}: {len(kernels)} kernels, at most {MOST_KERNELS} (or a reason in many_kernels)")
            for k in kernels:
                rules = rules_for(budget["rules"], arch, op, k.name)
                for rule in rules:
                    used[budget["rules"].index(rule)] += 1
                found += judge_kernel(f"{arch} {op} {k.name}", k, planned.get(k.name), rules)
            names = {k.name for k in kernels}
            found += [f"{arch} {op} {name}: in sass_budget.json and not in the build" for name in planned if name not in names]
        found += [f"{arch} {op}: in sass_budget.json and not in the build" for op in planned_ops if op not in ops]
    found += [f"sass_budget.json: the rule for {r['op']} {r['kernel']} fits no kernel" for r, n in zip(budget["rules"], used) if n == 0]
    return found


def updated(measured: dict, budget: dict) -> dict:
    registers = {arch: {op: {k.name: k.registers for k in kernels} for op, kernels in sorted(ops.items())} for arch, ops in measured.items()}
    return {**budget, "registers": registers}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, nargs="?")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--update", action="store_true")
    kind.add_argument("--release", action="store_true")
    parser.add_argument("--table", action="store_true", help="print every kernel's figures")
    options = parser.parse_args()
    options.build = options.build or ROOT / ("build/cuda-86-89" if options.release else "build/cuda-ci")
    archs = RELEASE_ARCHS if options.release else ARCHS
    try:
        measured = measure(options.build.resolve(), archs)
    except sass.ToolMissing as e:
        print(f"sass_gate: {e}", file=sys.stderr)
        return 1
    kernels = [(arch, op, k) for arch, ops in measured.items() for op, ks in ops.items() for k in ks]
    if not kernels:
        print(f"sass_gate: no kernels in {options.build}: build it first (./dev build {options.build.name})", file=sys.stderr)
        return 1
    if options.table:
        for arch, op, k in kernels:
            print(f"{arch:7} {op:14} {k.registers:4} registers {len(k.instructions):6} instructions "
                  f"{k.count(WIDE_LOAD):4} loads of 16 bytes  {k.name}")
    budget = json.loads(BUDGET.read_text())
    if options.update:
        budget = updated(measured, budget)
        BUDGET.write_text(json.dumps(budget, indent=1) + "\n")
    if options.release:
        findings = [finding for arch, op, k in kernels for finding in judge_spills(f"{arch} {op} {k.name}", k)]
    else:
        findings = judge(measured, budget)
    for finding in findings:
        print(finding, file=sys.stderr)
    most = max(kernels, key=lambda entry: entry[2].registers)
    print(f"sass_gate: {len(kernels)} kernels of {len(measured[archs[0]])} ops on {', '.join(archs)}, "
          f"{len(findings)} finding(s); most registers: {most[2].registers} ({most[0]} {most[1]} {most[2].name})")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
