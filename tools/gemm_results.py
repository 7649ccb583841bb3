"""gemm_w8a8's page: its tables beside every peer, the policies, the roofline and the profile, from bench/results/<gpu>/gemm_w8a8*.json.

report.py fills them in between the lines <!-- results:DEVICE:NAME --> and <!-- /results -->, NAME of TABLES. profile() makes
gemm_w8a8_ncu.json from the CSV files of ncu:  gemm_results.py CASE=FILE.csv... --out bench/results/h200/gemm_w8a8_ncu.json
"""
import argparse
import csv
import datetime
import html
import json
import math
from pathlib import Path

PEERS = {"cutlass_int8": "CUTLASS", "cublaslt_fp8": "FP8 row-wise", "triton_int8": "Triton", "cublaslt_int8": "`_int_mm`", "cublas_bf16": "bf16"}
GRAPH = "graph, rotating inputs"
PEAK_TOPS = 1979  # NVIDIA's figure for dense INT8


def ms_of(row: dict) -> float:
    return row["ms"]["p50"]


def table_of(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in rows]) + "\n"


def source_line(result: dict) -> str:
    read = result["ceilings"].get("read_gbs")
    return f"{result['gpu']}{f', reads {read:.0f} GB/s' if read else ''}; {result['date'][:10]}, commit {result['commit']}"


def peer_cells(result: dict, row: dict) -> list[str]:
    """How many times a peer's time octavo's is, a peer each, then CUTLASS's configuration."""
    peers = {r["impl"]: r for r in result["rows"] if r["case"] == row["case"] and r["regime"] == row["regime"]}
    cells = [f"{ms_of(peers[p]) / ms_of(row):.2f}" if p in peers else "-" for p in PEERS]
    return [*cells, peers["cutlass_int8"]["variant"] if "cutlass_int8" in peers else "-"]


def against_peers(result: dict) -> str:
    ours = [r for r in result["rows"] if r["impl"] == "octavo"]
    names = [*PEERS.values(), "CUTLASS's configuration"]
    read = result["ceilings"].get("read_gbs")
    few = [[r["case"], f"{1000 * ms_of(r):.2f}", f"{r['gbs']:,.0f}", f"{100 * r['gbs'] / read:.0f} %" if read else "-", *peer_cells(result, r)]
           for r in ours if r["regime"] == GRAPH]
    many = [[r["case"], r["regime"], f"{1000 * ms_of(r):.1f}", f"{r['tflops']:,.0f}", *peer_cells(result, r)] for r in ours if r["regime"] != GRAPH]
    return (source_line(result) + ". The columns of the peers: their time over octavo's.\n\n"
            "Few tokens, in a CUDA graph over rotated inputs:\n\n" + table_of(["M x N x K", "us", "GB/s", "of the read rate", *names], few)
            + "\nMany tokens:\n\n" + table_of(["M x N x K", "regime", "us", "TOPS", *names], many))


def policies(result: dict) -> str:
    times = {}
    for row in result["rows"]:
        if "/" in row["case"] and row["regime"] == "burst":
            name = row["case"].split("/", 1)[1].removeprefix("torch ")
            times[name] = min(times.get(name, math.inf), ms_of(row)) if name.startswith("op ") else ms_of(row)
    base, rows = times["scales"], []
    for name, ms in times.items():
        if name.startswith("op "):
            continue
        op = times.get("op " + name)
        saved = f"{100 * (base + op - ms) / op:.0f} %" if op else ""
        rows.append([name, f"{1000 * ms:.1f}", f"{100 * (ms / base - 1):.1f} %" if name != "scales" else "", f"{1000 * op:.1f}" if op else "", saved])
    return (source_line(result) + ". 8192x28672x4096, bursts in turns, us; the separate op is the faster of octavo's and torch's in place.\n\n"
            + table_of(["after the sums", "time", "over scales alone", "separate op", "saved of it"], rows))


# ---- roofline

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 400, 60, 46, 34, 16


def roofline(result: dict, read_gbs: float) -> str:
    """TOPS over operations a byte (x, w and y moved once), both logarithmic; the roofs are the read rate and NVIDIA's INT8 peak."""
    low_x, high_x, low_y, high_y = 1.0, 10000.0, 3.0, 3000.0

    def x_at(v):
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(v / low_x) / math.log(high_x / low_x)

    def y_at(v):
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * math.log(v / low_y) / math.log(high_y / low_y)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="11">',
             '<rect width="100%" height="100%" fill="white"/>',
             f'<text x="8" y="18" font-size="13">gemm_w8a8: roofline, {html.escape(result["gpu"])}; filled octavo, hollow CUTLASS (bursts and graphs)</text>']
    for v in (1, 10, 100, 1000, 10000):
        parts.append(f'<line x1="{x_at(v):.1f}" y1="{TOP}" x2="{x_at(v):.1f}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>')
        parts.append(f'<text x="{x_at(v):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{v:,}</text>')
    for v in (10, 100, 1000):
        parts.append(f'<line x1="{LEFT}" y1="{y_at(v):.1f}" x2="{WIDTH - RIGHT}" y2="{y_at(v):.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y_at(v) + 4:.1f}" text-anchor="end">{v:,}</text>')
    ridge = PEAK_TOPS * 1000 / read_gbs
    first = max(low_x, low_y * 1000 / read_gbs)
    parts.append(f'<polyline fill="none" stroke="#444" points="{x_at(first):.1f},{y_at(first * read_gbs / 1000):.1f} {x_at(ridge):.1f},{y_at(PEAK_TOPS):.1f} '
                 f'{x_at(high_x):.1f},{y_at(PEAK_TOPS):.1f}"/>')
    parts.append(f'<text x="{x_at(high_x):.1f}" y="{y_at(PEAK_TOPS) - 6:.1f}" text-anchor="end">{PEAK_TOPS:,} TOPS</text>')
    parts.append(f'<text x="{x_at(8):.1f}" y="{y_at(8 * read_gbs / 1000) - 10:.1f}" text-anchor="end">{read_gbs:,.0f} GB/s</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 10}" text-anchor="middle">operations a byte</text>')
    parts.append(f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 14 {HEIGHT / 2})">TOPS</text>')
    for row in result["rows"]:
        if row["impl"] not in ("octavo", "cutlass_int8") or row["regime"] == "sustained" or "/" in row["case"]:
            continue
        m, n, k = (row["shape"][d] for d in "MNK")
        at = f'cx="{x_at(2 * m * n * k / (m * k + n * k + 2 * m * n)):.1f}" cy="{y_at(row["tflops"]):.1f}"'
        parts.append(f'<circle {at} r="3.5" fill="#1f6f8b"/>' if row["impl"] == "octavo" else f'<circle {at} r="5.5" fill="none" stroke="#b04a3a"/>')
    return "\n".join(parts) + "\n</svg>\n"


# ---- profile

OF_PEAK = ".avg.pct_of_peak_sustained_elapsed"
TENSOR = "sm__pipe_tensor_type_hmma_hgmma_qgmma_imma_igmma_bmma_bgmma_cycles_active"
FROM_L2 = "l1tex__m_xbar2l1tex_read_bytes"
PIPES = {"tensor_op_gmma": "wgmma", "alu": "integer", "fma": "fma", "lsu": "loads and stores", "uniform": "uniform", "xu": "conversions", "tma": "TMA",
         "adu": "addresses and barriers", "cbu": "branches"}
STALLS = {"gmma": "`wgmma`", "long_scoreboard": "global memory or mbarrier", "short_scoreboard": "shared memory", "barrier": "barrier", "wait": "fixed latency",
          "branch_resolving": "branch", "no_instruction": "instruction fetch", "math_pipe_throttle": "pipe full", "lg_throttle": "queue of loads full",
          "sleeping": "asleep"}


def profile_of(path: Path) -> dict[str, float]:
    """metric -> value in base units, from ncu --csv --metrics ... of one kernel."""
    lines = [line for line in path.read_text().splitlines() if line.startswith('"')]
    return {row["Metric Name"]: float(row["Metric Value"].replace(",", "")) for row in csv.DictReader(lines) if row.get("Metric Name")}


def shares(values: dict[str, float], total: float) -> str:
    ordered = sorted(((v, name) for name, v in values.items() if v >= 0.01 * total), reverse=True)
    return ", ".join(f"{name} {100 * v / total:.0f} %" for v, name in ordered)


def profile_rows(p: dict[str, float]) -> dict[str, str]:
    def percent(name):
        return f"{p[name + OF_PEAK]:.0f} %"

    def megabytes(name):
        return f"{p[name] / 1e6:,.1f} MB"
    stalls = {label: p[f"smsp__average_warps_issue_stalled_{name}_per_issue_active.ratio"] for name, label in STALLS.items()}
    pipes = {label: p[f"sm__inst_executed_pipe_{name}.sum"] for name, label in PIPES.items()}
    return {"time": f"{p['gpu__time_duration.sum'] / 1000:,.1f} us at {p['sm__cycles_elapsed.avg.per_second'] / 1e9:.2f} GHz",
            "tensor pipe active": percent(TENSOR),
            "banks of shared memory: read, written": f"{percent('l1tex__data_bank_reads')}, {percent('l1tex__data_bank_writes')}",
            "L1 and shared memory throughput": percent("l1tex__throughput"),
            "L2 throughput": percent("lts__throughput"),
            "DRAM throughput": percent("dram__throughput"),
            "DRAM read, written": f"{megabytes('dram__bytes_read.sum')}, {megabytes('dram__bytes_write.sum')}",
            "L2 to the multiprocessors, of it multicast": f"{megabytes(FROM_L2 + '.sum')}, {megabytes(FROM_L2 + '_mem_global_op_tma_ld_dest_multicast.sum')}",
            "L2: sectors read, written": f"{p['lts__t_sectors_op_read.sum'] / 1e6:.1f} M, {p['lts__t_sectors_op_write.sum'] / 1e6:.2f} M",
            "L2: sectors a request, hit rate": f"{p['lts__t_sectors_srcunit_tex.sum'] / p['lts__t_requests_srcunit_tex.sum']:.2f}, {p['lts__t_sector_hit_rate.pct']:.0f} %",
            "L2: sectors asked for by its other half": f"{p['lts__t_sectors_srcunit_ltcfabric.sum'] / 1e6:.1f} M",
            "instructions of warps": f"{p['sm__inst_executed.sum']:,.0f}",
            "by pipe": shares(pipes, p["sm__inst_executed.sum"]),
            "issue slots busy": percent("smsp__issue_active"),
            "what a warp waits for": shares(stalls, sum(stalls.values()))}


def profile_table(result: dict) -> str:
    columns = {case: profile_rows(values) for case, values in result["cases"].items()}
    rows = [[label, *(column[label] for column in columns.values())] for label in next(iter(columns.values()))]
    return f"ncu, clocks left alone, caches flushed before; {result['gpu']}, {result['date'][:10]}, commit {result['commit']}.\n\n" + table_of(["", *columns], rows)


# ---- what report.py asks for

def filling(root: Path, device: str, name: str | None) -> tuple[str, dict[Path, str]] | None:
    """The text for a marker of this module, and the drawings that it shows."""
    folder = root / "bench/results" / device
    files = {"gemm_w8a8_peers": "gemm_w8a8.json", "gemm_w8a8_roofline": "gemm_w8a8.json", "gemm_w8a8_after": "gemm_w8a8_policies.json",
             "gemm_w8a8_profile": "gemm_w8a8_ncu.json"}
    if name not in files:
        return None
    if not (folder / files[name]).exists():
        return "Not measured yet.\n", {}
    result = json.loads((folder / files[name]).read_text())
    if name == "gemm_w8a8_roofline":
        path = root / "docs/results" / f"{device}_gemm_w8a8_roofline.svg"
        return f"![roofline](../../../docs/results/{path.name})\n", {path: roofline(result, result["ceilings"].get("read_gbs") or 4700)}
    return {"gemm_w8a8_peers": against_peers, "gemm_w8a8_after": policies, "gemm_w8a8_profile": profile_table}[name](result), {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="CASE=FILE.csv")
    parser.add_argument("--gpu", default="NVIDIA H200")
    parser.add_argument("--commit", default="")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    files = {case: Path(path) for case, path in (f.split("=", 1) for f in options.files)}
    newest = max(path.stat().st_mtime for path in files.values())
    options.out.write_text(json.dumps({"kind": "ncu", "gpu": options.gpu, "commit": options.commit,
                                       "date": datetime.datetime.fromtimestamp(newest, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
                                       "cases": {case: profile_of(path) for case, path in files.items()}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
