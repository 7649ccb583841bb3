"""bench/results/<gpu>/python.json: the overhead of a call from Python and the training proof, as tables and a plot for docs/python.md.

report.py imports it from python_overhead.json (bench/python_overhead.py) and training.json (tools/compare_optimizers.py).
"""
import json
from pathlib import Path

NAMES = {"octavo": "octavo.optim.AdamW", "torch": "torch.optim.AdamW(fused=True)"}


def import_python(results: Path, folder: Path, stamp: dict) -> bool:
    """What of the two files lies in `results` takes the place of the old; False where neither does."""
    found = {name: json.loads((results / file).read_text()) for name, file in
             (("overhead", "python_overhead.json"), ("training", "training.json")) if (results / file).exists()}
    if not found:
        return False
    path = folder / "python.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    kept = {name: old[name] for name in ("overhead", "training") if name in old}
    path.write_text(json.dumps({**kept, **{name: {**stamp, **result} for name, result in found.items()}}, indent=1) + "\n")
    return True


def source(result: dict) -> str:
    return f"{result['device']}, torch {result['torch']}; {result['date'][:10]}, commit {result['commit']}"


def overhead_table(result: dict) -> str:
    bare = result["host_us"]["bare launch (C++)"]
    lines = [f"A call of `rms_norm` on the host, best of 15 rounds of 200 calls ({source(result)}):\n",
             "| call | host time | over the bare launch |", "|---|---:|---:|"]
    lines += [f"| {name} | {us:.2f} us | {us - bare:.2f} us |" for name, us in result["host_us"].items()]
    return "\n".join(lines) + "\n"


def training_text(result: dict, picture: str) -> str:
    updates = ", ".join(f"{result['update_ms_p50'][kind] * 1000:.0f} us with {name}" for kind, name in NAMES.items() if kind in result["update_ms_p50"])
    return "\n".join([
        f"The built-in model's recipe in fp32 with both optimizers ({result['steps']} steps of {result['batch']} x {result['context']} tokens, the same "
        f"rows and dropout; {source(result)}):\n",
        "| what | measured | bound |", "|---|---:|---:|",
        f"| largest difference of a parameter after step 1 | {result['largest_difference_after_step_1']:.1e} | 1e-6 |",
        f"| largest relative difference of the mean loss over {result['window']} steps | {result['largest_relative_difference_of_mean_loss']:.1e} | 5e-3 |",
        f"\nAn update of its {result['tensors']} tensors takes {updates} (median, CUDA events).\n" if "tensors" in result else f"\nAn update takes {updates} (median, CUDA events).\n",
        f"![loss curves]({picture})\n"])


def documents(path: Path, drawings: Path) -> tuple[str, dict[Path, str]]:
    """-> the text between the marks, and the drawings that it shows."""
    result = json.loads(path.read_text())
    text, drawn = "", {}
    if "overhead" in result:
        text += overhead_table(result["overhead"]) + "\n"
    if "training" in result:
        picture = drawings / f"{path.parent.name}_training.svg"
        text += training_text(result["training"], f"{drawings.name}/{picture.name}")
        drawn[picture] = loss_curves(result["training"])
    return text, drawn


def loss_curves(result: dict) -> str:
    window, (width, height, left, top, right, bottom) = result["window"], (640, 320, 50, 15, 15, 40)
    curves = {kind: [sum(v[i:i + window]) / window for i in range(0, len(v) - window + 1, window)] for kind, v in result["loss"].items()}
    low, high = min(map(min, curves.values())), max(map(max, curves.values()))
    steps = result["steps"]

    def point(i, value):
        x = left + (width - left - right) * (i + 0.5) * window / steps
        return f"{x:.1f},{top + (height - top - bottom) * (high - value) / (high - low):.1f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
             f'<rect width="{width}" height="{height}" fill="white"/>']
    for i in range(5):
        value = low + (high - low) * i / 4
        y = top + (height - top - bottom) * (4 - i) / 4
        x = left + (width - left - right) * i / 4
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/><text x="{left - 6}" y="{y + 4:.1f}" '
                     f'text-anchor="end">{value:.2f}</text><text x="{x:.1f}" y="{height - bottom + 16}" text-anchor="middle">{steps * i // 4}</text>')
    styles = {"torch": ("#c40", "3", "0.45"), "octavo": ("#06c", "1.2", "1")}
    for row, (kind, (colour, stroke, opacity)) in enumerate(styles.items()):
        points = " ".join(point(i, v) for i, v in enumerate(curves[kind]))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{stroke}" stroke-opacity="{opacity}"/>'
                     f'<text x="{width - right - 190}" y="{top + 16 + 15 * row}" fill="{colour}">{NAMES[kind]}</text>')
    parts.append(f'<text x="{(left + width) / 2}" y="{height - 8}" text-anchor="middle">step; training loss in nats a token, mean over {window} steps; '
                 f'{result["device"]}, fp32</text></svg>')
    return "\n".join(parts) + "\n"
