#!/usr/bin/env python3
"""Peers of gemm_w8a8, timed as bench/gpu_gemm_bench.cpp times ours, on data of the same distribution.

torch._int_mm (cuBLASLt INT8: s32 out, no scales, no bias), torch._scaled_mm (cuBLASLt FP8, row-wise scales, bf16 out), bf16 F.linear;
if asked for by name, since it compiles for some 10 s a case: torch.compile max-autotune of the whole product in Triton (INT8, scales, bias, bf16 out).
M <= 256: a CUDA graph over rotated inputs, after 0.1 s of idle. M >= 1024: bursts after 0.1 s of idle (median of 3), and sustained, the second half of
0.4 s back to back. Every peer is compared with a float32 product of a corner first; one that is wrong or missing is left out.

CUTLASS is not among them: its rows (impl cutlass_int8) come from a program of its own, run in the same session and imported beside this one's.

usage: gemm_int8.py --out FILE [--match START]... [--peer IMPL]... [--seconds S] [--burst-only | --sustained IMPL...] [--after] [--when FILE]
S: start no new case after that many seconds. --after: also what torch takes for the ops that may follow the product of AFTER. --when: the GPU is left
alone until FILE is there, so that torch loads beside the step before.
"""
import argparse
import json
import os
import statistics
import time

import torch

SIGMA = 31.75
FEATURES = [(4096, 4096), (28672, 4096), (4096, 14336)]
SIZES = [(8192, 8192, 8192)] + [(m, n, k) for m in (8192, 4096, 2048, 1024, 1, 16, 32, 64, 128, 256) for n, k in FEATURES]
L2_FACTOR = 4
AFTER = (8192, 28672, 4096)


def codes(rows, width):
    return torch.randn(rows, width, device="cuda").mul_(SIGMA).round_().clamp_(-127, 127).to(torch.int8)


def scales(n):
    return torch.rand(n, device="cuda") * 0.01 + 0.001


class Peer:
    """make(m, n, k) -> inputs; call(inputs) -> product; plain(inputs, rows, columns) -> float32 corner."""

    def __init__(self, impl, make, call, plain):
        self.impl, self.make, self.call, self.plain = impl, make, call, plain


def make_int(m, n, k):
    return codes(max(m, 17), k), codes(n, k)  # _int_mm refuses fewer than 17 rows: it gets 17


def make_fp8(m, n, k):
    return ((codes(m, k).float() / 64).to(torch.float8_e4m3fn), (codes(n, k).float() / 64).to(torch.float8_e4m3fn), scales(m)[:, None],
            scales(n)[None, :])


def make_bf16(m, n, k):
    return (codes(m, k).float() / 64).bfloat16(), (codes(n, k).float() / 64).bfloat16()


def make_scaled(m, n, k):
    return codes(m, k), codes(n, k), scales(m)[:, None], scales(n)[None, :], scales(n)[None, :]


def scaled_product(x, w, x_scale, w_scale, bias):
    return (torch._int_mm(x, w.t()).float() * w_scale * x_scale + bias).bfloat16()


class Compiled:
    """Afresh for each shape: a function that is used again for another shape turns dynamic."""

    def __init__(self):
        self.shape, self.call = None, None

    def __call__(self, t):
        shape = (*t[0].shape, t[1].shape[0])
        if shape != self.shape:
            torch._dynamo.reset()
            from torch._inductor import config  # seconds to import: for this peer alone
            config.max_autotune_gemm_backends = "TRITON"
            self.call = torch.compile(scaled_product, dynamic=False, mode="max-autotune-no-cudagraphs")
            self.shape = shape
        return self.call(*t)


PEERS = [
    Peer("cublaslt_int8", make_int, lambda t: torch._int_mm(t[0], t[1].t()),
         lambda t, r, c: t[0][:r].float() @ t[1][:c].float().t()),
    Peer("cublaslt_fp8", make_fp8,
         lambda t: torch._scaled_mm(t[0], t[1].t(), scale_a=t[2], scale_b=t[3], out_dtype=torch.bfloat16, use_fast_accum=True),
         lambda t, r, c: (t[0][:r].float() * t[2][:r]) @ (t[1][:c].float().t() * t[3][:, :c])),
    Peer("cublas_bf16", make_bf16, lambda t: torch.nn.functional.linear(t[0], t[1]),
         lambda t, r, c: t[0][:r].float() @ t[1][:c].float().t()),
]
COMPILED = [Peer("triton_int8", make_scaled, Compiled(),
                 lambda t, r, c: (t[0][:r].float() * t[2][:r]) @ (t[1][:c].float().t() * t[3][:, :c]) + t[4][:, :c])]


def check(peer, inputs):
    out = peer.call(inputs)
    r, c = min(64, out.shape[0]), 64
    want, got = peer.plain(inputs, r, c), out[:r, :c].float()
    error = ((got - want).norm() / want.norm()).item()
    if not error < 0.02:
        raise RuntimeError(f"relative error {error:.3g} on a corner")


def between_events(calls, call):
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(calls):
        call()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / calls


def burst_ms(guess, call):
    rounds = []
    for _ in range(3):
        time.sleep(0.1)
        rounds.append(between_events(min(30, max(7, int(3.0 / guess))), call))
    return statistics.median(rounds)


def sustained_ms(guess, call):
    half = max(1, int(200 / guess))
    middle, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    for _ in range(half):
        call()
    middle.record()
    for _ in range(half):
        call()
    end.record()
    end.synchronize()
    return middle.elapsed_time(end) / half


def graph_ms(peer, sets):
    calls = max(len(sets), 12)
    for inputs in sets[:2]:
        peer.call(inputs)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            peer.call(sets[i % len(sets)])
    graph.replay()
    torch.cuda.synchronize()
    time.sleep(0.1)
    return statistics.median(between_events(1, graph.replay) / calls for _ in range(9))


def ops_after(m, n):
    """In place on y, so that each reads and writes the fewest bytes that a separate op can."""
    y, other = (torch.randn(m, n, device="cuda").bfloat16() for _ in range(2))
    bias = torch.randn(n, device="cuda").bfloat16()
    gelu = torch.ops.aten.gelu_
    return {"op bias": lambda: y.add_(bias), "op residual": lambda: y.add_(other), "op gelu_erf": lambda: gelu(y),
            "op gelu_tanh": lambda: gelu(y, approximate="tanh")}


def wait_for(file):
    while file and not os.path.exists(file):
        time.sleep(0.05)


def write(file, rows):
    with open(file, "w") as f:
        json.dump({"schema": 1, "gpu": torch.cuda.get_device_name(0), "torch": torch.__version__, "rows": rows}, f, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--match", action="append", help="only cases whose name begins with this (several: any)")
    parser.add_argument("--peer", action="append", help="only this one (several: these)")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--burst-only", action="store_true")
    parser.add_argument("--sustained", action="append", help="sustained times of this peer alone (several: these)")
    parser.add_argument("--after", action="store_true")
    parser.add_argument("--when")
    options = parser.parse_args()
    wait_for(options.when)
    begin, rows = time.monotonic(), []
    l2_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    for m, n, k in SIZES:
        name = f"{m}x{n}x{k}"
        if options.match and not name.startswith(tuple(options.match)):
            continue
        if time.monotonic() - begin > options.seconds:
            break
        for peer in [p for p in PEERS if not options.peer or p.impl in options.peer] + [p for p in COMPILED if p.impl in (options.peer or ())]:
            try:
                inputs = peer.make(m, n, k)
                check(peer, inputs)
                times = {}
                if m <= 256:
                    bytes_of_set = sum(t.numel() * t.element_size() for t in inputs)
                    count = max(2, -(-L2_FACTOR * l2_bytes // bytes_of_set))
                    times["graph, rotating inputs"] = graph_ms(peer, [inputs] + [peer.make(m, n, k) for _ in range(count - 1)])
                else:
                    def call():
                        peer.call(inputs)
                    between_events(2, call)
                    guess = between_events(3, call)
                    times["burst"] = burst_ms(guess, call)
                    if not options.burst_only and (not options.sustained or peer.impl in options.sustained):
                        times["sustained"] = sustained_ms(guess, call)
            except Exception as e:  # a peer that this machine does not have
                print(f"{name:<18} {peer.impl:<14} left out: {str(e).splitlines()[0][:90]}", flush=True)
                continue
            for regime, ms in times.items():
                tflops = 2 * m * n * k / ms / 1e9
                rows.append({"op": "gemm_w8a8", "case": name, "shape": {"M": m, "N": n, "K": k}, "impl": peer.impl, "variant": "",
                             "ms": {"p50": ms}, "tflops": tflops, "regime": regime})
                print(f"{name:<18} {peer.impl:<14} {regime:<10.10} {1000 * ms:9.2f} us {tflops:7.0f} TOPS", flush=True)
            del inputs
            torch.cuda.empty_cache()
        write(options.out, rows)
    m, n, k = AFTER
    for name, call in ops_after(m, n).items() if options.after else ():
        ms = burst_ms(between_events(3, call), call)
        rows.append({"op": "gemm_w8a8", "case": f"{m}x{n}x{k}/torch {name}", "shape": {"M": m, "N": n, "K": k}, "impl": "torch", "variant": name,
                     "ms": {"p50": ms}, "regime": "burst"})
        print(f"{m}x{n}x{k} {name:<20} {1000 * ms:9.2f} us", flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
