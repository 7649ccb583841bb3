#!/usr/bin/env python3
"""Peers of attention_f, timed as bench/gpu_attention_bench.cpp times ours, on the same shapes and kind of data.

cuDNN and FlashAttention-2 through torch's scaled_dot_product_attention (fp16, B H N D contiguous); SageAttention where it is installed;
naive PyTorch (scores materialised) for the small shapes. Large shapes: bursts after 0.1 s of idle (median of 3) and sustained, the
second half of 0.4 s back to back. Small shapes: a call inside a replayed CUDA graph of 100. Every peer is compared with float32 on a
corner first; one that is wrong or missing is left out.

usage: attention.py --out FILE [--match TEXT]... [--impl NAME]... [--seconds S] [--burst-only]
"""
import argparse
import json
import math
import statistics
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from gemm_int8 import between_events, burst_ms, sustained_ms

LARGE = [(4, 32, 1024, 64), (4, 32, 4096, 64), (4, 32, 16384, 64), (16, 16, 1024, 128), (4, 16, 4096, 128), (1, 16, 16384, 128)]
SMALL = [(b, h, n, 64) for b in (1, 2) for h in (4, 8) for n in (128, 256, 512)]
SMALL += [(1, 1, n, 64) for n in (512, 1024, 2048)] + [(2, 4, n, 32) for n in (128, 512)]
SHAPES = [(*s, causal, False) for causal in (False, True) for s in LARGE] + [(*s, True, True) for s in SMALL]
NODES = 100


def sdpa(backend):
    def call(q, k, v, causal):
        with sdpa_kernel(backend):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return call


def naive(q, k, v, causal):
    s = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        n = q.shape[-2]
        s = s.masked_fill(torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1), -math.inf)
    return s.softmax(-1) @ v


PEERS = {"cudnn": sdpa(SDPBackend.CUDNN_ATTENTION), "fa2": sdpa(SDPBackend.FLASH_ATTENTION), "torch": naive}
LIMIT = {"cudnn": 0.01, "fa2": 0.01, "torch": 0.01, "sage": 0.1}  # relative error on the corner
try:
    from sageattention import sageattn  # 1.0.6: INT8 q k, fp16 p v, quantisation included

    PEERS["sage"] = lambda q, k, v, causal: sageattn(q, k, v, tensor_layout="HND", is_causal=causal)
except ImportError:
    pass


def check(call, q, k, v, causal, limit):
    rows = slice(-64, None)  # the last queries see every key, causal or not, but for the last 63
    got = call(q, k, v, causal)[:1, :1, rows].float()
    s = q[:1, :1, rows].float() @ k[:1, :1].float().transpose(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        n = q.shape[-2]
        s = s.masked_fill(torch.arange(n, device=q.device)[None, :] > torch.arange(n, device=q.device)[-64:, None], -math.inf)
    want = s.softmax(-1) @ v[:1, :1].float()
    error = ((got - want).norm() / want.norm()).item()
    if not error < limit:
        raise RuntimeError(f"relative error {error:.3g} on a corner")


def graph_ms(call):
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(NODES):
            call()
    graph.replay()
    return statistics.median(between_events(1, graph.replay) / NODES for _ in range(21))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--match", action="append", default=[])
    parser.add_argument("--impl", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--burst-only", action="store_true")
    options = parser.parse_args()
    begin, rows = time.monotonic(), []
    for b, h, n, d, causal, small in SHAPES:
        name = f"{b}x{h}x{h}x{n}x{n}x{d}/{'causal' if causal else 'full'}"
        if options.match and not any(m in name for m in options.match):
            continue
        if time.monotonic() - begin > options.seconds:
            break
        q, k, v = (torch.randn(b, h, n, d, device="cuda", dtype=torch.float16) for _ in range(3))
        for impl, peer in PEERS.items():
            if (impl == "torch" and not small) or (options.impl and impl not in options.impl):
                continue
            try:
                check(peer, q, k, v, causal, LIMIT[impl])

                def call():
                    peer(q, k, v, causal)

                times = {}
                if small:
                    times["graph"] = graph_ms(call)
                else:
                    between_events(2, call)
                    guess = between_events(2, call)
                    times["burst"] = burst_ms(guess, call)
                    if not options.burst_only:
                        times["sustained"] = sustained_ms(guess, call)
            except Exception as e:  # a peer that this machine does not have
                print(f"{name:<32} {impl:<8} left out: {str(e).splitlines()[0][:90]}", flush=True)
                continue
            for regime, ms in times.items():
                tflops = 4 * b * h * n * n * d / (2 if causal else 1) / ms / 1e9
                rows.append({"op": "attention_f", "case": name, "shape": {"B": b, "H": h, "N": n, "D": d, "causal": causal}, "impl": impl,
                             "variant": "", "dtype": "f16", "ms": {"p50": ms}, "tflops": tflops, "regime": regime})
                print(f"{name:<32} {impl:<8} {regime:<10} {1000 * ms:>10.2f} us {tflops:>7.1f} TFLOP/s", flush=True)
    result = {"schema": 1, "gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(), "rows": rows}
    with open(options.out, "w") as f:
        json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
