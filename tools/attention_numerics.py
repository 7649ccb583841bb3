#!/usr/bin/env python3
"""Errors of attention in eight bits against fp64, by exact simulation in numpy: writes bench/results/attention_numerics.json and
the table of docs/attention-numerics.md between its marks.

    tools/attention_numerics.py [--keys 1024 4096 16384 65536] [--heads 8] [--rows 64]

INT8 forms follow src/ops/attention_int8/attention_int8.md step by step (codes, tiles, P in u8, sums exact); what they leave out is the
rounding of fp32 between the integer parts, below 1e-6. Inputs are fp16, as a kernel gets them; the truth is fp64 attention of them.
"""

import argparse
import json
import pathlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIM = 64
TILE = 256  # kInt8TileKeys


def inputs(name, rng, rows, keys):
    q, k, v = (rng.standard_normal((n, DIM)) for n in (rows, keys, keys))
    if name == "uniform":
        q, k, v = (rng.uniform(-0.5, 0.5, (n, DIM)) for n in (rows, keys, keys))
    elif name == "outlier channels":  # two channels of K thirty times as large around a mean of their own
        k[:, 7] = 30 + k[:, 7]
        k[:, 21] = -30 + k[:, 21]
    elif name == "outlier spread":  # two channels of K with thirty times the spread, of Q a thirtieth of it
        k[:, [7, 21]] *= 30
        q[:, [7, 21]] /= 30
    elif name == "peaky":
        q *= 4
    return [x.astype(np.float16).astype(np.float64) for x in (q, k, v)]


def softmax_times(scores, v):
    p = np.exp(scores - scores.max(1, keepdims=True))
    return p @ v / p.sum(1, keepdims=True)


def codes(x, axis):
    scale = np.abs(x).max(axis=axis, keepdims=True) / 127
    return np.rint(x / scale), scale


def fp16(q, k, v):
    s = q @ k.T / np.sqrt(DIM)
    p = np.exp(s - s.max(1, keepdims=True))
    return (p.astype(np.float16).astype(np.float64) @ v / p.sum(1, keepdims=True)).astype(np.float16).astype(np.float64)


def e4m3(x):
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(x), 2.0**-20))), -6)
    step = 2.0 ** (exponent - 3)
    return np.clip(np.rint(x / step) * step, -448, 448)


def fp8(q, k, v, exact_p=False):
    """q, k, v in e4m3 with a scale each head, P in e4m3 with the row's maximum at 448."""
    (q8, qs), (k8, ks), (v8, vs) = ((e4m3(x * (448 / np.abs(x).max())), np.abs(x).max() / 448) for x in (q, k, v))
    s = q8 @ k8.T * (qs * ks / np.sqrt(DIM))
    p = np.exp(s - s.max(1, keepdims=True))
    p8 = p if exact_p else e4m3(448 * p) / 448
    return p8 @ v8 * vs / p.sum(1, keepdims=True)


def int8(q, k, v, v_scale="tile"):
    """v_scale: tile (and channel, the default), channel, head, key (its logarithm added in the exponent)."""
    (qc, qs), (kc, ks) = codes(q, 1), codes(k, 1)
    log_p = (qc @ kc.T) * ks.T * qs / np.sqrt(DIM) * np.log2(np.e)
    if v_scale == "key":
        vc, vs = codes(v, 1)
        log_p = log_p + np.log2(vs.T)
    elif v_scale != "tile":
        vc, vs = codes(v, 0 if v_scale == "channel" else (0, 1))
    top = np.full((len(q), 1), -np.inf)
    o, total = np.zeros_like(q), np.zeros((len(q), 1))
    for first in range(0, len(k), TILE):
        part = slice(first, first + TILE)
        tile_top = log_p[:, part].max(1, keepdims=True)
        all_top = np.maximum(top, tile_top)
        p = np.rint(255 * 2 ** (log_p[:, part] - tile_top))
        old, new = 2 ** (top - all_top), 2 ** (tile_top - all_top)
        if v_scale == "tile":
            vc_tile, vs_tile = codes(v[part], 0)
            sums = (p @ vc_tile) * vs_tile
        else:
            sums = (p @ vc[part]) * (1 if v_scale == "key" else vs)
        parts = 255 * 2 ** (log_p[:, part] - tile_top) / vs[part].T if v_scale == "key" else p
        o, total, top = o * old + sums * new, total * old + parts.sum(1, keepdims=True) * new, all_top
    return o / total


def hadamard(x):
    h = np.ones((1, 1))
    while len(h) < DIM:
        h = np.block([[h, h], [h, -h]])
    return x @ h / np.sqrt(DIM)


FORMS = {
    "fp16": fp16,
    "INT8 (V per tile and channel)": int8,
    "INT8, V per channel": lambda q, k, v: int8(q, k, v, "channel"),
    "INT8, V per head": lambda q, k, v: int8(q, k, v, "head"),
    "INT8, V per key": lambda q, k, v: int8(q, k, v, "key"),
    "INT8, K smoothed": lambda q, k, v: int8(q, k - k.mean(0), v),
    "INT8, Hadamard": lambda q, k, v: int8(hadamard(q), hadamard(k), v),
    "INT8, smoothed and Hadamard": lambda q, k, v: int8(hadamard(q), hadamard(k - k.mean(0)), v),
    "FP8 e4m3": fp8,
    "FP8 e4m3, P exact": lambda q, k, v: fp8(q, k, v, True),
}
KINDS = ["normal", "uniform", "outlier channels", "outlier spread", "peaky"]


def measure(kind, keys, heads, rows):
    got = {name: [] for name in FORMS}
    truth = []
    for head in range(heads):
        q, k, v = inputs(kind, np.random.default_rng([head, keys, KINDS.index(kind)]), rows, keys)
        truth.append(softmax_times(q @ k.T / np.sqrt(DIM), v))
        for name, form in FORMS.items():
            got[name].append(form(q, k, v))
    r = np.concatenate(truth)
    for name in FORMS:
        o = np.concatenate(got[name])
        yield {
            "inputs": kind,
            "keys": keys,
            "form": name,
            "relative_l1": np.abs(o - r).sum() / np.abs(r).sum(),
            "relative_l2": np.sqrt(((o - r) ** 2).sum() / (r**2).sum()),
            "cosine": (o * r).sum() / np.sqrt((o**2).sum() * (r**2).sum()),
            "max": np.abs(o - r).max(),
        }


def table(rows, keys):
    lines = []
    for kind in KINDS:
        lines += [f"### {kind}", "", "| form | " + " | ".join(f"N = {n}" for n in keys) + f" | relative L2, cosine, max at N = {keys[-1]} |"]
        lines.append("|" + "---|" * (len(keys) + 2))
        for form in FORMS:
            of = {r["keys"]: r for r in rows if r["inputs"] == kind and r["form"] == form}
            last = of[keys[-1]]
            lines.append(
                f"| {form} | " + " | ".join(f"{100 * of[n]['relative_l1']:.3f} %" for n in keys)
                + f" | {100 * last['relative_l2']:.3f} %, {last['cosine']:.6f}, {last['max']:.2g} |")
        lines.append("")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, nargs="+", default=[1024, 4096, 16384, 65536])
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--rows", type=int, default=64)
    args = parser.parse_args()
    rows = [r for kind in KINDS for n in args.keys for r in measure(kind, n, args.heads, args.rows)]
    out = {"schema": 1, "op": "attention_int8", "head_dim": DIM, "heads": args.heads, "rows": args.rows, "results": rows}
    (ROOT / "bench/results/attention_numerics.json").write_text(json.dumps(out, indent=1, default=float) + "\n")
    page = ROOT / "docs/attention-numerics.md"
    head, rest = page.read_text().split("<!-- table -->\n")
    page.write_text(head + "<!-- table -->\n" + table(rows, args.keys) + "\n<!-- end -->\n" + rest.split("<!-- end -->\n")[1])


if __name__ == "__main__":
    main()
