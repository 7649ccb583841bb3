#!/usr/bin/env python3
"""Receipts: what a verification on a GPU measured, in a form that CI can check without one (design 6).

  receipts.py keys BUILD                     writes BUILD/keys.json: for each op the SHA-256 of its instructions (octavo_verify --keys)
  receipts.py assemble RESULTS [--out DIR]   makes DIR/<gpu>/<op>.json of octavo_verify's output (RESULTS/receipts.tar.gz or
                                             RESULTS/receipts/*.json) and of the sanitizers' logs beside it
"""
import argparse
import datetime
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import sass

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = 1
ARCH = "sm_90a"  # of the receipts' GPU, the H200
SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")
# Words of a case's name that say how its arguments lie or are filled, not which policy of the op runs.
LAYOUT_WORD = re.compile(r"^(hard|wide_range|.*\d.*|\w+_on_\w+)$")


class Refused(Exception):
    pass


# ---- keys ------------------------------------------------------------------------------------------------------------

def sass_digest(build: Path, op: str) -> str:
    return hashlib.sha256(sass.text_of(sass.kernels_of_op(build, op, ARCH)).encode()).hexdigest()


def key_of(sass_sha256: str, case_table: str, harness: int) -> str:
    return hashlib.sha256(f"{sass_sha256}\n{case_table}\n{harness}\n".encode()).hexdigest()


def nvcc_version(build: Path) -> str:
    compiler = re.search(r"^CMAKE_CUDA_COMPILER:\w+=(.+)$", (build / "CMakeCache.txt").read_text(), re.M)
    shown = subprocess.run([compiler[1], "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"V(\d+\.\d+\.\d+)", shown)[1]


def write_keys(build: Path) -> None:
    ops = sorted(sass.objects_of_ops(build))
    if not ops:
        raise Refused(f"{build}: no compiled .cu of any op; build octavo_verify first")
    keys = {op: sass_digest(build, op) for op in ops}
    (build / "keys.json").write_text(json.dumps({"nvcc": nvcc_version(build), "arch": ARCH, **keys}, indent=1) + "\n")
    print(f"receipts: {build / 'keys.json'}: {', '.join(f'{op} {key[:8]}' for op, key in keys.items())}")


# ---- assembling ------------------------------------------------------------------------------------------------------

def width_class(case: str) -> str:
    numbers = re.findall(r"\d+", case.split("/")[0])
    width = int(numbers[-1]) if numbers else 0
    return next((f"<={limit}" for limit in (64, 1024, 8192, 32768) if width <= limit), ">32768")


def group_of(case: str, output: str, dtype: str) -> tuple[str, str, str, str]:
    policy = "/".join(word for word in case.split("/")[1:] if not LAYOUT_WORD.match(word) or "_to_" in word)
    return dtype, policy or "plain", re.sub(r"\d+$", "", output), width_class(case)


def ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float(part > 0) * 1e300


def grouped_floats(rows: list[list]) -> list[dict]:
    """For each group the case that came nearest to each limit, with its numbers, so that the rule can be applied again."""
    groups: dict[tuple, dict] = {}
    for case, output, dtype, max_y, mean_y, nmse_y, max_p, mean_p, a, cap in rows:
        if None in (max_y, mean_y, nmse_y):
            raise Refused(f"{case} {output}: an error that is no number")
        group = groups.setdefault(group_of(case, output, dtype), {"outputs": 0, "near": {}})
        group["outputs"] += 1
        candidates = {"max": ([case, max_y, max_p, a], ratio(max_y, 2 * max_p + a)),
                      "mean": ([case, mean_y, mean_p, a], ratio(mean_y, 1.25 * mean_p + a / 8)),
                      "nmse": ([case, nmse_y, cap], ratio(nmse_y, cap))}
        for rule, (numbers, share) in candidates.items():
            if rule not in group["near"] or share > group["near"][rule][1]:
                group["near"][rule] = (numbers, share)
    return [{"group": list(key), "outputs": g["outputs"], **{rule: numbers for rule, (numbers, _) in g["near"].items()}}
            for key, g in sorted(groups.items())]


def grouped_codes(rows: list[list]) -> list[dict]:
    groups: dict[tuple, dict] = {}
    for case, output, steps in rows:
        dtype = next((word for word in case.split("/") if word in ("f32", "f16", "bf16")), "")
        group = groups.setdefault(group_of(case, output, dtype), {"outputs": 0, "max": [case, -1.0]})
        group["outputs"] += 1
        if steps > group["max"][1]:
            group["max"] = [case, steps]
    return [{"group": list(key), **g} for key, g in sorted(groups.items())]


def read_results(results: Path) -> list[dict]:
    archive = results / "receipts.tar.gz"
    if archive.exists():
        with tarfile.open(archive) as tar:
            return [json.load(io.BytesIO(tar.extractfile(m).read())) for m in tar.getmembers() if m.name.endswith(".json")]
    paths = sorted((results / "receipts").glob("*.json")) or sorted(p for p in results.glob("*.json") if p.stem in sass_ops())
    if not paths:
        raise Refused(f"{results}: neither receipts.tar.gz nor receipts/*.json")
    return [json.loads(p.read_text()) for p in paths]


def sass_ops() -> set[str]:
    return {p.parent.name for p in ROOT.glob("src/ops/*/*.cu")}


def sanitizer_counts(results: Path) -> tuple[dict[str, dict[str, int]], int]:
    """op -> {tool: cases run without an error}, and how many logs are not clean to the end.

    Ops run one after the other and name themselves as they end, so in a log with errors those that ended before the first
    error are clean; the one at fault and all behind it are not counted. A log without the tool's summary counts for nothing."""
    counts: dict[str, dict[str, int]] = {}
    bad = 0
    for tool in SANITIZERS:
        for log in sorted(results.glob(f"{tool}*.log")):
            text = log.read_text(errors="replace")
            summaries = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (\d+)", text)
            if not summaries or any(int(n) for n in summaries):
                bad += 1
                first_error = re.search(r"^=+ (?:Error|Invalid|Uninitialized|Warning|Barrier|Program hit|Target application)", text, re.M)
                if not summaries or not first_error:
                    print(f"receipts: {log}: {'errors' if summaries else 'no summary (cut off?)'}; not counted", file=sys.stderr)
                    continue
                text = text[:first_error.start()]
                print(f"receipts: {log}: errors; only ops that ended before the first are counted", file=sys.stderr)
            for op, cases, failed in re.findall(r"^(\w+) +(\d+) cases, +(\d+) failed$", text, re.M):
                if int(failed) == 0 and int(cases) > 0:
                    counts.setdefault(op, {})[tool] = int(cases)
    return counts, bad


def receipt_of(raw: dict, sanitizers: dict[str, int], nvcc: str) -> dict:
    key = raw["key"]
    if raw["counts"]["failed"]:
        raise Refused(f"{raw['op']}: {raw['counts']['failed']} of {raw['counts']['cases']} cases failed")
    if not key["sass"]:
        raise Refused(f"{raw['op']}: octavo_verify was run without --keys (tools/receipts.py keys BUILD)")
    exact: dict[str, dict[str, str]] = {}
    for case, output, digest in raw["exact"]:
        exact.setdefault(case, {})[output] = digest
    return {"schema": SCHEMA, "op": raw["op"], "gpu": raw["gpu"], "compute_capability": raw["compute_capability"],
            "driver": raw["driver"], "cuda": raw["cuda"], "nvcc": nvcc,
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            "key": {"sha256": key_of(key["sass"], key["cases"], key["harness"]), **key},
            "counts": raw["counts"], "repeats": raw["repeats"], "sanitizers": sanitizers,
            "columns": {"group": ["dtype", "policy", "output", "width"], "max": ["case", "max_y", "max_p", "a"],
                        "mean": ["case", "mean_y", "mean_p", "a"], "nmse": ["case", "nmse_y", "cap"],
                        "codes.max": ["case", "steps"], "exact": "case: output: FNV-1a 64"},
            "floats": grouped_floats(raw["floats"]), "codes": grouped_codes(raw["codes"]), "exact": exact}


def text_of_receipt(receipt: dict) -> str:
    """One line for a group or a case, so that git shows what changed."""
    lines = []
    for name, value in receipt.items():
        if name in ("floats", "codes"):
            body = ",\n".join("  " + json.dumps(row, separators=(",", ":")) for row in value)
            text = f"[\n{body}\n ]" if value else "[]"
        elif name == "exact":
            body = ",\n".join(f"  {json.dumps(case)}: {json.dumps(d, separators=(',', ':'))}" for case, d in value.items())
            text = f"{{\n{body}\n }}" if value else "{}"
        else:
            text = json.dumps(value)
        lines.append(f' "{name}": {text}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def gpu_folder(gpu: str) -> str:
    """"NVIDIA H200" -> "h200"."""
    return gpu.removeprefix("NVIDIA ").split()[0].lower()


def assemble(results: Path, out: Path, keys_path: Path | None, merge: bool) -> int:
    keys = json.loads(keys_path.read_text()) if keys_path else {}
    (sanitizers, bad), refused = sanitizer_counts(results), 0
    for raw in read_results(results):
        op = raw["op"]
        path = out / gpu_folder(raw["gpu"]) / f"{op}.json"
        try:
            if keys and keys.get(op) != raw["key"]["sass"]:
                raise Refused(f"{op}: measured other code than {keys_path} has")
            clean = dict(sanitizers.get(op, {}))
            if merge and path.exists():
                before = json.loads(path.read_text())
                if before["key"]["sass"] == raw["key"]["sass"]:  # the same instructions: what was clean is clean
                    clean = {**before["sanitizers"], **clean}
            receipt = receipt_of(raw, clean, keys.get("nvcc", "13.0.88"))
        except Refused as e:
            print(f"receipts: {e}: no receipt", file=sys.stderr)
            refused += 1
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of_receipt(receipt))
        print(f"receipts: {path}: {receipt['counts']['cases']} cases, {receipt['repeats']} repeats, "
              f"sanitizers {', '.join(clean) or 'none'}, {path.stat().st_size // 1000} kB")
    return 1 if refused or bad else 0


def add_sanitizers(results: Path, out: Path) -> int:
    """Only logs, made apart from the verification: adds their counts to receipts of the same code (RESULTS/keys.json)."""
    keys = json.loads((results / "keys.json").read_text())
    counts, bad = sanitizer_counts(results)
    for op, clean in counts.items():
        for path in out.glob(f"*/{op}.json"):
            receipt = json.loads(path.read_text())
            if receipt["key"]["sass"] != keys.get(op):
                print(f"receipts: {path}: other code than {results}/keys.json; not counted", file=sys.stderr)
                continue
            receipt["sanitizers"].update(clean)
            path.write_text(text_of_receipt(receipt))
            print(f"receipts: {path}: sanitizers {', '.join(receipt['sanitizers'])}")
    return 1 if bad or not counts else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    keys = commands.add_parser("keys", help="the digests of a build's GPU code")
    keys.add_argument("build", type=Path)
    made = commands.add_parser("assemble", help="receipts of the results of tools/gpu_session.sh")
    made.add_argument("results", type=Path)
    made.add_argument("--out", type=Path, default=ROOT / "receipts")
    made.add_argument("--keys", type=Path, help="keys.json of the build that ran; its code must be what was measured")
    made.add_argument("--fresh", action="store_true", help="do not keep sanitizer runs of an earlier receipt of the same code")
    logs = commands.add_parser("sanitized", help="add sanitizer logs of a run apart; RESULTS holds its keys.json too")
    logs.add_argument("results", type=Path)
    logs.add_argument("--out", type=Path, default=ROOT / "receipts")
    options = parser.parse_args()
    try:
        if options.command == "keys":
            write_keys(options.build.resolve())
            return 0
        if options.command == "sanitized":
            return add_sanitizers(options.results, options.out)
        return assemble(options.results, options.out, options.keys, not options.fresh)
    except (Refused, sass.ToolMissing, OSError) as e:
        print(f"receipts: {e}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
