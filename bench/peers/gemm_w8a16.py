#!/usr/bin/env python3
"""Peers of gemm_w8a16, timed as bench/gpu_w8a16_bench.cpp times ours, on data of the same distribution.

cuBLAS bf16 (F.linear), which reads twice the bytes; torch.compile of F.linear(x, w.to(x.dtype)) * scale, compiled afresh for each
shape; gemlite (A16W8, its own choice of kernel and tuning) where it is installed. M <= 256: a CUDA graph over rotated inputs.
M >= 1024: bursts after 0.1 s of idle (median of 3), and sustained, the second half of 0.4 s back to back. Every peer is compared
with a float32 product of a corner first; one that is wrong or missing is left out.

usage: gemm_w8a16.py --out FILE [--match START]... [--seconds S] [--compile] [--gemlite] [--without-cublas]
(S: start no new case after that many seconds; FILE is written after each case)
"""
import argparse
import json
import statistics
import time

import torch

from gemm_int8 import between_events, burst_ms, sustained_ms

SIGMA = 31.75
FEATURES = [(4096, 4096), (28672, 4096), (4096, 14336), (8192, 8192)]
SIZES = [(m, n, k) for m in (1, 8, 4, 2, 3, 5, 6, 7, 16, 32, 64, 128, 256, 1024, 4096) for n, k in FEATURES]
L2_FACTOR = 4


def codes(rows, width):
    return torch.randn(rows, width, device="cuda").mul_(SIGMA).round_().clamp_(-127, 127).to(torch.int8)


def activations(m, k):
    return torch.randn(m, k, device="cuda").bfloat16()


def make_bf16(m, n, k):
    return activations(m, k), (codes(n, k).float() / 64).bfloat16()


def make_int8(m, n, k):
    return activations(m, k), codes(n, k), torch.rand(n, device="cuda").bfloat16() * 0.01 + 0.001


def bf16(t):
    return torch.nn.functional.linear(t[0], t[1])


def weight_only(x, w, scale):
    return torch.nn.functional.linear(x, w.to(x.dtype)) * scale


def make_gemlite(m, n, k):
    from gemlite.helper import A16W8
    x, w, scale = make_int8(m, n, k)
    return x, w, scale, A16W8(device="cuda", dtype=torch.bfloat16).from_weights(w, scales=scale.view(n, 1))


def gemlite(t):
    return t[3](t[0])


def plain(t, r, c):
    y = t[0][:r].float() @ t[1][:c].float().t()
    return y * t[2][:c].float() if len(t) > 2 else y


def check(call, inputs):
    out = call(inputs)
    r, c = min(64, out.shape[0]), 64
    want, got = plain(inputs, r, c), out[:r, :c].float()
    error = ((got - want).norm() / want.norm()).item()
    if not error < 0.02:
        raise RuntimeError(f"relative error {error:.3g} on a corner")


def graph_ms(call, sets):
    calls = max(len(sets), 40)
    for inputs in sets[:2]:
        call(inputs)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            call(sets[i % len(sets)])
    graph.replay()
    return statistics.median(between_events(1, graph.replay) / calls for _ in range(9))


def write(path, rows):
    with open(path, "w") as f:
        json.dump({"schema": 1, "gpu": torch.cuda.get_device_name(0), "torch": torch.__version__, "rows": rows}, f, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--match", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--gemlite", action="store_true")
    parser.add_argument("--without-cublas", action="store_true")
    options = parser.parse_args()
    begin, rows = time.monotonic(), []
    l2_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    for m, n, k in SIZES:
        name = f"{m}x{n}x{k}"
        if options.match and not any(name.startswith(start) for start in options.match):
            continue
        if time.monotonic() - begin > options.seconds:
            break
        peers = [] if options.without_cublas else [("cublas_bf16", make_bf16, bf16)]
        if options.compile:
            torch._dynamo.reset()
            compiled = torch.compile(weight_only, dynamic=False)
            peers.append(("torch_compile", make_int8, lambda t, f=compiled: f(*t)))
        if options.gemlite:
            peers.append(("gemlite", make_gemlite, gemlite))
        for impl, make, call in peers:
            try:
                inputs = make(m, n, k)
                check(call, inputs)
                times = {}
                if m <= 256:
                    bytes_of_set = sum(t.numel() * t.element_size() for t in inputs if isinstance(t, torch.Tensor))
                    count = max(2, -(-L2_FACTOR * l2_bytes // bytes_of_set))
                    times["graph, rotating inputs"] = graph_ms(call, [inputs] + [make(m, n, k) for _ in range(count - 1)])
                else:
                    def once():
                        call(inputs)
                    between_events(2, once)
                    guess = between_events(3, once)
                    times["burst"] = burst_ms(guess, once)
                    times["sustained"] = sustained_ms(guess, once)
            except Exception as e:  # a peer that this machine does not have
                print(f"{name:<16} {impl:<14} left out: {str(e).splitlines()[0][:90]}", flush=True)
                continue
            for regime, ms in times.items():
                tflops = 2 * m * n * k / ms / 1e9
                rows.append({"op": "gemm_w8a16", "case": name, "shape": {"M": m, "N": n, "K": k}, "impl": impl, "variant": "",
                             "dtype": "bf16", "ms": {"p50": ms}, "tflops": tflops, "regime": regime})
                print(f"{name:<16} {impl:<14} {regime:<6.6} {1000 * ms:8.2f} us {tflops:5.0f} TF", flush=True)
            del inputs
            torch.cuda.empty_cache()
        write(options.out, rows)


if __name__ == "__main__":
    main()
