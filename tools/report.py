#!/usr/bin/env python3
"""Tables and plots from bench/results/**.json: figures in documents are never typed by hand (design 7).

  report.py                   writes docs/results.md and docs/results/*.svg, and fills the tables between the lines
                              <!-- results:DEVICE --> and <!-- /results --> of README.md and docs/*.md, and between
                              <!-- results:DEVICE:OP --> and <!-- /results --> of the ops' pages
  report.py --check           writes nothing; fails where a document does not say what the JSON says
  report.py import RESULTS    bench/results/<gpu>/<op>.json of a GPU run: RESULTS/bench.json (octavo_gpu_bench) and
                              RESULTS/peers.json (bench/peers) of the same session, and RESULTS/gemm*.json likewise;
                              python.json of RESULTS/python_overhead.json and RESULTS/training.json (also alone)
"""
import argparse
import datetime
import html
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import gemm_results
import python_results

ROOT = Path(__file__).resolve().parent.parent
MARKED = re.compile(r"(<!-- results:(\w+)(?::(\w+))? -->\n).*?(<!-- /results -->)", re.S)
DEPENDENT = "graph of 100 dependent nodes"


# ---- import ----------------------------------------------------------------------------------------------------------

def git(*arguments: str) -> str:
    run = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return run.stdout.strip() if run.returncode == 0 else ""


def copy_rates(rows: list[dict]) -> list[tuple[int, float]]:
    return [(r["bytes"], r["gbs"]) for r in rows if r["op"] == "copy"]


def share_of_rate(row: dict, rates: list[tuple[int, float]], read_gbs: float) -> float | None:
    """Share of the copy rate at the size nearest to the row's; none where calls depend on each other. A matrix product's is
    of the read rate, where few tokens make reading the weights its limit."""
    if row.get("regime") == DEPENDENT or not row.get("bytes"):
        return None
    if "tflops" in row:
        return row["gbs"] / read_gbs if read_gbs and row.get("shape", {}).get("M", 1 << 30) <= 128 else None
    if not rates:
        return None
    return row["gbs"] / min(rates, key=lambda rate: abs(math.log(rate[0] / row["bytes"])))[1]


def rounded(x):
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    return float(f"{x:.5g}") if isinstance(x, float) else x


def in_seeds_tables(row: dict) -> bool:
    """The cases of triton-llm-kernels' own tables (shared/seeds.md)."""
    return "/seeds" in row["case"] or (row["op"] == "adamw" and row["case"] in ("1000000", "10000000", "50000000"))


def folder_of(gpu: str) -> Path:
    folder = ROOT / "bench/results" / gpu.removeprefix("NVIDIA ").split()[0].lower()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def import_from_python(results: Path, commit: str) -> bool:
    files = [path for name in ("python_overhead.json", "training.json") if (path := results / name).exists()]
    if not files:
        return False
    stamp = {"commit": git("rev-parse", "--short=12", commit),
             "date": datetime.datetime.fromtimestamp(files[0].stat().st_mtime, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
    return python_results.import_python(results, folder_of(json.loads(files[0].read_text())["device"]), stamp)


def import_results(results: Path, commit: str) -> int:
    if import_from_python(results, commit) and not (results / "bench.json").exists():
        return 0
    of_ops = sorted([*results.glob("gemm*.json"), *results.glob("attention*.json")])
    # Without bench.json: files of one op's bench and its peers, of one run.
    bench_file = results / "bench.json" if (results / "bench.json").exists() else of_ops[0]
    bench = {"ceilings": {}, **json.loads(bench_file.read_text())}
    peers = json.loads((results / "peers.json").read_text()) if (results / "peers.json").exists() else {"rows": []}
    if peers["rows"] and peers["gpu"] != bench["gpu"]:
        print(f"report: peers ran on {peers['gpu']}, the bench on {bench['gpu']}", file=sys.stderr)
        return 1
    rates = copy_rates(bench["rows"])
    folder = folder_of(bench["gpu"])
    every = bench["rows"] + peers["rows"]
    for path in of_ops:
        if path != bench_file:
            every += json.loads(path.read_text())["rows"]
    tables = {op: [r for r in every if r["op"] == op] for op in sorted({r["op"] for r in every} - {"copy"})}
    tables["seeds"] = [{**r, "case": f"{r['op']} {r['case'].removesuffix('/seeds')}"} for r in every if in_seeds_tables(r)]
    for op, results_of_op in tables.items():
        rows, seen = [], set()
        for r in results_of_op:
            name = (r["case"], r["impl"], r.get("regime"))
            if name in seen:  # --tune: what dispatch chose comes first, then the alternatives
                continue
            seen.add(name)
            row = {k: v for k, v in r.items() if k not in ("op", "of_copy")}
            share = share_of_rate(r, rates, bench["ceilings"].get("read_gbs"))
            rows.append(rounded({**row, **({"pct_ceiling": 100 * share} if share is not None else {})}))
        if not rows:
            continue
        source = f"src/ops/{op}" if (ROOT / "src/ops" / op).is_dir() else "src/ops"
        file = {"schema": 1, "op": op, "gpu": bench["gpu"], "driver": bench["driver"], "cuda": bench["cuda"],
                **({"torch": peers["torch"]} if "torch" in peers else {}), "commit": git("rev-parse", "--short=12", commit),
                "source_hash": git("rev-parse", "--short=12", f"{commit}:{source}"),
                "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "ceilings": rounded(bench["ceilings"]), "rows": rows,
                "skipped": [text for text in peers.get("skipped", []) if text.startswith(op + " ")]}
        (folder / f"{op}.json").write_text(json.dumps(file, indent=1) + "\n")
        print(f"report: {folder / op}.json: {len(rows)} rows")
    return 0


# ---- tables ----------------------------------------------------------------------------------------------------------

def time_of(row: dict) -> float:
    """Milliseconds: the median; the best where the harness gives one (CPU, peers interleaved)."""
    return row["ms"].get("best", row["ms"]["p50"])


def pairs(result: dict) -> list[tuple[dict, dict | None]]:
    """Each case's row of octavo with the fastest peer's."""
    found = []
    for row in result["rows"]:
        if row["impl"] != "octavo" or "ms" not in row:
            continue
        peers = [r for r in result["rows"] if r["impl"] != "octavo" and r["case"] == row["case"] and r.get("regime") == row.get("regime")]
        found.append((row, min(peers, key=time_of, default=None)))
    return found


def shown_time(ms: float) -> str:
    return f"{ms:.3g} ms" if ms >= 1 else f"{1000 * ms:.3g} us"


def number(x: float | None, unit: str = "") -> str:
    return "" if x is None else (f"{x:.0f}{unit}" if x >= 100 else f"{x:.3g}{unit}")


def table(result: dict) -> str:
    with_peers = any(peer for _, peer in pairs(result))
    unit, key = next(((u, k) for u, k in (("tokens/s", "tokens_per_s"), ("GOP/s", "gops"), ("TFLOP/s", "tflops"))
                      if any(r.get(k) for r in result["rows"])), ("GB/s", "gbs"))
    regimes = {r.get("regime") for r in result["rows"]} & {"burst", "sustained"}
    head = ["case", "variant", "time", unit, "of the rate"]
    head += ["fastest peer", "its time", "octavo is"] if with_peers else []
    lines = ["| " + " | ".join(head) + " |", "|---|---" + "|---:" * 3 + ("|---|---:|---:" if with_peers else "") + "|"]
    for row, peer in pairs(result):
        name = row["case"] + (f", {row['regime']}" if row.get("regime") in regimes else "") + (" (each of 100)" if row.get("regime") == DEPENDENT and "dependent" not in row["case"] else "")
        cells = [name, row.get("variant", ""), shown_time(time_of(row)),
                 number(row.get(key)), number(row.get("pct_ceiling"), " %")]
        if with_peers:
            cells += [peer["impl"], shown_time(time_of(peer)), f"{time_of(peer) / time_of(row):.2f}x"] if peer else ["", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def source_line(result: dict) -> str:
    machine = result.get("gpu") or f"{result.get('cpu')}, {result.get('threads')} threads, {result.get('isa')}"
    ceilings = ", ".join(f"{name.removesuffix('_gbs').replace('_', ' ')} {value:.0f} GB/s"
                         for name, value in result["ceilings"].items() if name.endswith("_gbs") and value)
    return f"{machine}; {ceilings or 'no rates taken'}; {result['date'][:10]}, commit {result.get('commit') or 'unknown'}"


def results_of(root: Path) -> dict[str, list[dict]]:
    """device -> results, by name of op."""
    found: dict[str, list[dict]] = {}
    for path in sorted((root / "bench/results").glob("*/*.json")):
        result = json.loads(path.read_text())
        if result.get("schema") == 1 and result.get("rows"):
            found.setdefault(path.parent.name, []).append(result)
    return found


def summary(results: list[dict]) -> str:
    """One line an op: its largest share of the rate and the geometric mean of the ratios to the fastest peers."""
    lines = ["| op | cases | share of the rate | against the fastest peer of each case |", "|---|---:|---:|---|"]
    for result in results:
        shares = [row["pct_ceiling"] for row, _ in pairs(result) if row.get("pct_ceiling")]
        ratios = [(time_of(peer) / time_of(row), row["case"], peer["impl"]) for row, peer in pairs(result) if peer]
        share = f"{min(shares):.0f} to {max(shares):.0f} %" if shares else ""
        against = ""
        if ratios:
            mean = math.exp(sum(math.log(r[0]) for r in ratios) / len(ratios))
            low = min(ratios)
            against = f"{mean:.2f}x in the geometric mean of {len(ratios)}, least {low[0]:.2f}x ({low[1]}, {low[2]})"
        lines.append(f"| {result['op']} | {len(pairs(result))} | {share} | {against} |")
    return "\n".join(lines) + "\n"


def tokenizer_differential(path: Path) -> str:
    """What tools/tokenizer_differential.py kept, a line a tokenizer."""
    if not path.exists():
        return "Not compared yet.\n"
    lines = ["| tokenizer | strings | different | do not come back | `tokenizers` | seed | date, commit |", "|---|---:|---:|---:|---|---|---|"]
    for name, c in json.loads(path.read_text())["tokenizers"].items():
        lines.append(f"| {name} | {c['strings']:,} | {c['differences']} | {c.get('do_not_come_back', '')} | {c['package']} | {c['seed']} | {c['date']}, {c['commit']} |")
    return "\n".join(lines) + "\n"


# ---- plots -----------------------------------------------------------------------------------------------------------

BAR, GAP, LEFT, WIDTH = 14, 10, 250, 420
COLOURS = {"octavo": "#1f6f8b", "peer": "#b8b8b8"}


def bars(result: dict) -> str | None:
    """Horizontal bars, octavo and its fastest peer for each case, in percent of the rate."""
    rows = [(row, peer) for row, peer in pairs(result) if row.get("pct_ceiling")]
    if not rows:
        return None
    height = 46 + len(rows) * (2 * BAR + GAP)
    scale = WIDTH / max(100.0, *(r.get("pct_ceiling", 0) for pair in rows for r in pair if r))
    kind = "copy" if result.get("gpu") and not any("tflops" in row for row, _ in rows) else "read"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 130}" height="{height}" font-family="sans-serif" font-size="11">',
             '<rect width="100%" height="100%" fill="white"/>',
             f'<text x="8" y="18" font-size="13">{html.escape(result["op"])}: percent of the {kind} rate, {html.escape(result.get("gpu") or result.get("cpu") or "")}</text>',
             f'<line x1="{LEFT + 100 * scale:.1f}" y1="28" x2="{LEFT + 100 * scale:.1f}" y2="{height - 8}" stroke="#888" stroke-dasharray="3 3"/>']
    y = 32
    for row, peer in rows:
        parts.append(f'<text x="{LEFT - 6}" y="{y + BAR + 3}" text-anchor="end">{html.escape(row["case"])}</text>')
        for entry, colour, label in ((row, COLOURS["octavo"], "octavo"), (peer, COLOURS["peer"], peer["impl"] if peer else "")):
            if entry and entry.get("pct_ceiling"):
                width = entry["pct_ceiling"] * scale
                parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{colour}"/>')
                parts.append(f'<text x="{LEFT + width + 4:.1f}" y="{y + BAR - 4}">{entry["pct_ceiling"]:.0f} {html.escape(label)}</text>')
            y += BAR
        y += GAP
    return "\n".join(parts) + "\n</svg>\n"


# ---- documents -------------------------------------------------------------------------------------------------------

def documents(root: Path) -> dict[Path, str]:
    """path -> the text that it should have."""
    by_device = results_of(root)
    wanted: dict[Path, str] = {}
    page = ["# Measured results\n", "Made by `./dev report` from `bench/results`; how they are measured: [benchmarking](benchmarking.md).",
            "Time is the median of a GPU run and the best of a CPU run; the rate is our own copy (GPU) or read (CPU) of the same run.\n"]
    for device, results in by_device.items():
        page += [f"## {device}\n", summary(results)]
        for result in results:
            page += [f"### {result['op']} on {device}\n", source_line(result) + "\n", table(result)]
            drawing = bars(result)
            if drawing:
                path = root / "docs/results" / f"{device}_{result['op']}.svg"
                wanted[path] = drawing
                page.append(f"![{result['op']} on {device}](results/{path.name})\n")
            if result.get("skipped"):
                page.append("Peers left out: " + "; ".join(s.replace("|", "/") for s in result["skipped"]) + "\n")
    if by_device:
        wanted[root / "docs/results.md"] = "\n".join(page)
    def filling(device: str, op: str | None) -> str:
        if of_gemm := gemm_results.filling(root, device, op):
            wanted.update(of_gemm[1])
            return of_gemm[0]
        python = root / "bench/results" / device / "python.json"
        if op == "python" and python.exists():
            text, drawings = python_results.documents(python, root / "docs/results")
            wanted.update(drawings)
            return text
        if op == "tokenizer_differential":
            return tokenizer_differential(root / "bench/results" / device / "tokenizer_differential.json")
        results = [r for r in by_device.get(device, []) if op in (None, r["op"])]
        if not results:
            return "Not measured yet.\n"
        return summary(results) if op is None else source_line(results[0]) + "\n\n" + table(results[0])

    for path in [root / "README.md", *sorted((root / "docs").glob("*.md")), *sorted((root / "src/ops").glob("*/*.md"))]:
        text = path.read_text() if path.exists() else ""
        filled = MARKED.sub(lambda m: m[1] + filling(m[2], m[3]) + m[4], text)
        if filled != text and path not in wanted:
            wanted[path] = filled
    return wanted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--root", type=Path, default=ROOT)
    commands = parser.add_subparsers(dest="command")
    importing = commands.add_parser("import")
    importing.add_argument("results", type=Path)
    importing.add_argument("--commit", default="HEAD", help="the one that was measured")
    options = parser.parse_args()
    try:
        if options.command == "import":
            return import_results(options.results, options.commit)
        stale = [(path, text) for path, text in documents(options.root).items() if not path.exists() or path.read_text() != text]
    except (OSError, ValueError, KeyError) as e:
        print(f"report: {type(e).__name__}: {e}", file=sys.stderr)
        return 1
    for path, text in stale:
        if options.check:
            print(f"report: {path.relative_to(options.root)} does not say what bench/results says: run ./dev report", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"report: {path.relative_to(options.root)}")
    print(f"report: {len(stale)} of {len(documents(options.root))} documents {'are stale' if options.check else 'written'}")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
