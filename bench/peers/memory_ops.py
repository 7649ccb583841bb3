#!/usr/bin/env python3
"""Peers of the memory-bound ops, timed as bench/gpu_timing.cpp times ours: a CUDA graph of calls on rotating inputs.

torch eager, torch.compile (dynamic=False, afresh per shape), torch.compile max-autotune-no-cudagraphs, Liger where it is
installed. Every result is compared with a float64-free plain version first; a peer that is wrong or missing is named and
left out. Writes rows of the same JSON schema as octavo_gpu_bench.

usage: memory_ops.py --out FILE [--op NAME]... [--seconds S]   (S: stop starting new measurements after that)
"""
import argparse
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

L2_FACTOR = 4
LARGE = [(16384, 8192), (4096, 32768), (16384, 4096), (2048, 4096)]
WIDE, SMALL = (1024, 131072), (16, 4096)
SEEDS = [(t, o) for t in (512, 1024, 2048) for o in (4096, 16384)]  # triton-llm-kernels: B = 2, T = 256, 512, 1024
EPS = 1e-5
DTYPE = torch.float16


def quantise(y):
    y = y.float()
    scale = y.abs().amax(dim=-1, keepdim=True) / 127
    return torch.clamp(torch.round(y / scale), -127, 127).to(torch.int8), scale


def rms(x, w):
    v = x.float()
    return (v * torch.rsqrt(v.pow(2).mean(-1, keepdim=True) + EPS) * w.float())


def rms_norm(x, w):
    return rms(x, w).to(x.dtype)


def rms_norm_residual(x, r, w):
    u = x + r
    return rms(u, w).to(x.dtype), u


def rms_norm_codes(x, w):
    return quantise(rms(x, w))


def rms_norm_residual_codes(x, r, w):
    u = x + r
    return (*quantise(rms(u, w)), u)


def layer_norm(x, w, b):
    return F.layer_norm(x, (x.shape[-1],), w, b, EPS)


def bias_gelu(x, b):
    return F.gelu(x + b)


def bias_gelu_tanh(x, b):
    return F.gelu(x + b, approximate="tanh")


def silu_mul(g, u):
    return F.silu(g) * u


def silu_mul_halves(gu):
    g, u = gu.chunk(2, dim=-1)
    return F.silu(g) * u


def silu_mul_codes(g, u):
    return quantise(F.silu(g.float()) * u.float())


def x_of(s):
    return torch.randn(s, device="cuda", dtype=DTYPE)


def row_of(s):
    return torch.rand(s[1], device="cuda", dtype=DTYPE) + 0.5


# op, suffix of the case's name, function, inputs of a shape, bytes moved at least per element of rows x width
CASES = [
    ("rms_norm", "", rms_norm, lambda s: (x_of(s), row_of(s)), 4),
    ("rms_norm", "/residual", rms_norm_residual, lambda s: (x_of(s), x_of(s), row_of(s)), 8),
    ("rms_norm", "/codes", rms_norm_codes, lambda s: (x_of(s), row_of(s)), 3),
    ("rms_norm", "/residual/codes", rms_norm_residual_codes, lambda s: (x_of(s), x_of(s), row_of(s)), 7),
    ("layer_norm", "", layer_norm, lambda s: (x_of(s), row_of(s), row_of(s)), 4),
    ("bias_gelu", "", bias_gelu, lambda s: (x_of(s), row_of(s)), 4),
    ("bias_gelu", "/tanh", bias_gelu_tanh, lambda s: (x_of(s), row_of(s)), 4),
    ("silu_mul", "", silu_mul, lambda s: (x_of(s), x_of(s)), 6),
    ("silu_mul", "/halves", silu_mul_halves, lambda s: (x_of((s[0], 2 * s[1])),), 6),
    ("silu_mul", "/codes", silu_mul_codes, lambda s: (x_of(s), x_of(s)), 5),
    ("quantize_rows", "", quantise, lambda s: (x_of(s),), 3),
]


def adamw(params, grads, ms, vs, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01, step=3):
    """Unfused: one elementwise expression per line of the paper (Loshchilov and Hutter, decoupled decay)."""
    for p, g, m, v in zip(params, grads, ms, vs):
        p.mul_(1 - lr * decay)
        m.mul_(beta1).add_(g, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        p.addcdiv_(m / (1 - beta1**step), (v / (1 - beta2**step)).sqrt() + eps, value=-lr)


def torch_optimizer(sizes, dtype, **options):
    params = [torch.nn.Parameter(torch.randn(n, device="cuda").to(dtype)) for n in sizes]
    for p in params:
        p.grad = torch.randn_like(p)
    return torch.optim.AdamW(params, lr=1e-3, weight_decay=0.01, capturable=True, **options)


def odd_sizes():  # as octavo_gpu_bench makes them: 300 tensors of odd sizes, 50 M in all
    sizes = [(27_001 + i * 7919 % 279_991) | 1 for i in range(299)]
    return [*sizes, 50_000_000 - sum(sizes)]


# case, sizes of the tensors, dtype of parameters and gradients (torch keeps its states in the same dtype, octavo in fp32)
ADAMW = [("1000000", [1_000_000], torch.float32), ("10000000", [10_000_000], torch.float32),
         ("50000000", [50_000_000], torch.float32), ("500000000", [500_000_000], torch.float32),
         ("50000000/300_tensors", odd_sizes(), torch.float32)]


def adamw_functions(case, sizes, dtype):
    """impl -> a function without arguments that makes one step."""
    def state():
        return [[torch.rand(n, device="cuda").to(dtype) for n in sizes] for _ in range(4)]

    fused = torch_optimizer(sizes, dtype, fused=True)
    yield "torch_fused", fused.step
    del fused
    tensors = state()
    yield "torch", lambda: adamw(*tensors)
    if "tensors" not in case:
        torch._dynamo.reset()
        step = torch.compile(adamw, dynamic=False)
        yield "torch_compile", lambda: step(*tensors)


def liger_functions():
    try:
        from liger_kernel.ops.rms_norm import LigerRMSNormFunction
        from liger_kernel.ops.swiglu import LigerSiLUMulFunction
        from liger_kernel.ops.layer_norm import LigerLayerNormFunction
    except Exception as e:  # noqa: BLE001: a peer that cannot be imported is named and skipped
        print(f"liger: not available ({e})", flush=True)
        return {}
    return {("rms_norm", ""): lambda x, w: LigerRMSNormFunction.apply(x, w, EPS),
            ("layer_norm", ""): lambda x, w, b: LigerLayerNormFunction.apply(x, w, b, EPS),
            ("silu_mul", ""): lambda g, u: LigerSiLUMulFunction.apply(g, u)}


def eager_functions():
    return {("rms_norm", ""): lambda x, w: F.rms_norm(x, (x.shape[-1],), w, EPS)}


def time_graph(calls, run, budget_ms=100):
    for i in range(min(calls, 3)):
        run(i)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            run(i)
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def replay():
        start.record()
        graph.replay()
        stop.record()
        torch.cuda.synchronize()
        return start.elapsed_time(stop) / calls

    replay()
    once = replay() * calls
    times = sorted(replay() for _ in range(max(9, min(101, int(budget_ms / max(once, 0.01))))))
    pick = lambda share: times[int(share * (len(times) - 1) + 0.5)]
    del graph
    return {"p20": pick(0.2), "p50": pick(0.5), "p80": pick(0.8)}


def flat(result):
    return [result] if isinstance(result, torch.Tensor) else list(result)


def sane(got, want):
    """Relative L2 error below 1e-2 of every output, or the number that is not."""
    for g, w in zip(flat(got), flat(want)):
        g, w = g.double(), w.double().reshape(g.shape)
        error = ((g - w).norm() / w.norm()).item()
        if not error < 1e-2:
            return error
    return None


def compiled(function, mode):
    torch._dynamo.reset()  # afresh per shape: a function that has seen two shapes turns dynamic and loses up to 2.6x
    if mode == "torch_compile":
        return torch.compile(function, dynamic=False)
    return torch.compile(function, dynamic=False, mode="max-autotune-no-cudagraphs")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--op", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=1e9)
    options = parser.parse_args()
    begin = time.time()
    torch.set_grad_enabled(False)
    torch.manual_seed(1)
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    eager, liger = eager_functions(), liger_functions()
    rows, skipped = [], []

    def measure(op, suffix, shape, impl, function, make, per_element, dependent=False, case=None):
        name = case or f"{shape[0]}x{shape[1]}{suffix}" + ("/dependent" if dependent else "")
        if time.time() - begin > options.seconds:
            skipped.append(f"{op} {name} {impl}: out of time")
            return
        bytes_moved = per_element * shape[0] * shape[1] + (4 * shape[0] if "codes" in suffix or op == "quantize_rows" else 0)
        try:
            sets = 1 if dependent else max(2, math.ceil(L2_FACTOR * l2 / bytes_moved))
            data = [make(shape) for _ in range(sets)]
            reference = next(c[2] for c in CASES if c[0] == op and c[1] == suffix)
            error = sane(function(*data[0]), reference(*data[0]))
            if error is not None:
                skipped.append(f"{op} {name} {impl}: wrong result, relative error {error:.3g}")
                return
            times = time_graph(100 if dependent else max(sets, 12), lambda i: function(*data[i % sets]))
        except Exception as e:  # noqa: BLE001
            skipped.append(f"{op} {name} {impl}: {type(e).__name__} {str(e)[:200]}")
            return
        gbs = bytes_moved / times["p50"] / 1e6
        rows.append({"op": op, "case": name, "impl": impl, "dtype": "f16", "bytes": bytes_moved, "ms": times, "gbs": gbs,
                     "regime": "graph of 100 dependent nodes" if dependent else "graph, rotating inputs"})
        print(f"{op:<14} {name:<28} {impl:<22} {1000 * times['p50']:9.2f} us {gbs:7.0f} GB/s", flush=True)
        write()

    def write():
        with open(options.out, "w") as f:
            json.dump({"schema": 1, "gpu": torch.cuda.get_device_name(0), "torch": torch.__version__, "rows": rows,
                       "skipped": skipped}, f, indent=1)

    def measure_adamw():
        for case, sizes, dtype in ADAMW:
            for impl, step in adamw_functions(case, sizes, dtype):
                if time.time() - begin > options.seconds:
                    skipped.append(f"adamw {case} {impl}: out of time")
                    continue
                try:
                    times = time_graph(12, lambda i: step())
                except Exception as e:  # noqa: BLE001
                    skipped.append(f"adamw {case} {impl}: {type(e).__name__} {str(e)[:200]}")
                    continue
                bytes_moved = 28 * sum(sizes)
                # One set of tensors: as good as rotating where it is far larger than L2, and another regime where it is not.
                regime = "graph, rotating inputs" if bytes_moved >= L2_FACTOR * l2 else "graph, one set in L2"
                rows.append({"op": "adamw", "case": case, "impl": impl, "dtype": "f32", "bytes": bytes_moved, "ms": times,
                             "gbs": bytes_moved / times["p50"] / 1e6, "regime": regime})
                print(f"adamw          {case:<28} {impl:<22} {1000 * times['p50']:9.2f} us {rows[-1]['gbs']:7.0f} GB/s", flush=True)
            torch.cuda.empty_cache()
        write()

    def measure_seeds():  # first, so that the table of both seeds is whole whatever the time left
        op, suffix, function, make, per_element = next(c for c in CASES if c[0] == "bias_gelu" and c[1] == "")
        for shape in SEEDS:
            for mode in ("torch", "torch_compile"):
                measure(op, suffix, shape, mode, function if mode == "torch" else compiled(function, mode), make, per_element,
                        case=f"{shape[0]}x{shape[1]}/seeds")

    if not options.op or "bias_gelu" in options.op:
        measure_seeds()
    if not options.op or "adamw" in options.op:
        measure_adamw()
    for mode in ("torch_compile", "liger", "torch", "torch_compile_autotune"):
        for op, suffix, function, make, per_element in CASES:
            if options.op and op not in options.op:
                continue
            shapes = [(s, False) for s in LARGE] + ([(WIDE, False)] if op in ("rms_norm", "quantize_rows", "layer_norm") else [])
            if suffix in ("", "/residual", "/codes"):
                shapes.append((SMALL, True))
            for shape, dependent in shapes:
                if mode == "torch":
                    measure(op, suffix, shape, mode, eager.get((op, suffix), function), make, per_element, dependent)
                elif mode == "liger":
                    if (op, suffix) in liger:
                        measure(op, suffix, shape, mode, liger[(op, suffix)], make, per_element, dependent)
                elif mode == "torch_compile" or shape in ((16384, 4096), (16384, 8192), (2048, 4096)):
                    measure(op, suffix, shape, mode, compiled(function, mode), make, per_element, dependent)
            torch.cuda.empty_cache()
    write()
    print("\n".join(skipped))
    return 0


if __name__ == "__main__":
    sys.exit(main())
