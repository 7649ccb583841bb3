#!/usr/bin/env python3
"""Peers of the memory-bound ops, timed as bench/gpu_timing.cpp times ours: a CUDA graph of calls on rotating inputs.

torch eager, torch.compile (dynamic=False, afresh per shape), torch.compile max-autotune-no-cudagraphs, Liger where it is
installed. Every result is compared with a float64-free plain version first; a peer that is wrong or missing is named and
left out. Writes rows of the same JSON schema as octavo_gpu_bench.

usage: memory_ops.py --out FILE [--op NAME]... [--match REGEX] [--seconds S] [--resume]
         REGEX: only jobs whose "op case peer" holds it whole
         S: start no measurement after so many seconds; with --resume a later call measures what FILE lacks
       memory_ops.py --compile I/N [--op NAME]... [--match REGEX] [--seconds S]
         measures nothing: the I-th of N processes that fill torch's caches (TORCHINDUCTOR_CACHE_DIR) side by side
"""
import argparse
import json
import math
import os
import re
import sys
import time

import torch
import torch.nn.functional as F

L2_FACTOR = 4
LIGER = {("rms_norm", ""), ("layer_norm", ""), ("silu_mul", "")}
LARGE = [(16384, 8192), (4096, 32768), (16384, 4096), (2048, 4096), (1024, 131072)]
SMALL = (16, 4096)
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


def layer_norm_residual(x, r, w, b):
    u = x + r
    return layer_norm(u, w, b), u


def layer_norm_codes(x, w, b):
    return quantise(layer_norm(x.float(), w.float(), b.float()))


def layer_norm_residual_codes(x, r, w, b):
    u = x + r
    return (*layer_norm_codes(u, w, b), u)


def bias_gelu(x, b):
    return F.gelu(x + b)


def bias_gelu_tanh(x, b):
    return F.gelu(x + b, approximate="tanh")


def bias_gelu_codes(x, b):
    return quantise(F.gelu(x.float() + b.float()))


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
    ("layer_norm", "/residual", layer_norm_residual, lambda s: (x_of(s), x_of(s), row_of(s), row_of(s)), 8),
    ("layer_norm", "/codes", layer_norm_codes, lambda s: (x_of(s), row_of(s), row_of(s)), 3),
    ("layer_norm", "/residual/codes", layer_norm_residual_codes, lambda s: (x_of(s), x_of(s), row_of(s), row_of(s)), 7),
    ("bias_gelu", "", bias_gelu, lambda s: (x_of(s), row_of(s)), 4),
    ("bias_gelu", "/tanh", bias_gelu_tanh, lambda s: (x_of(s), row_of(s)), 4),
    ("bias_gelu", "/codes", bias_gelu_codes, lambda s: (x_of(s), row_of(s)), 3),
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


# case, sizes of the tensors (torch keeps its states in the parameters' dtype, octavo in fp32)
ADAMW = [("1000000", [1_000_000]), ("10000000", [10_000_000]), ("50000000", [50_000_000]), ("500000000", [500_000_000]),
         ("50000000/300_tensors", odd_sizes())]


def adamw_step(impl, sizes, sets):
    """A function of the number of the call; calls rotate over so many sets of tensors."""
    def state():
        return [[torch.rand(n, device="cuda") for n in sizes] for _ in range(4)]

    if impl == "torch_fused":
        optimizers = [torch_optimizer(sizes, torch.float32, fused=True) for _ in range(sets)]
        return lambda i: optimizers[i % sets].step()
    tensors = [state() for _ in range(sets)]
    function = compiled(adamw, impl) if impl == "torch_compile" else adamw
    return lambda i: function(*tensors[i % sets])


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


def jobs(ops):
    """(op, case, impl, suffix, shape, dependent); first what the seeds' tables need, so that they are whole whatever the time."""
    modes = ("torch_compile", "liger", "torch", "torch_compile_autotune")
    found = [("bias_gelu", f"{t}x{o}/seeds", mode, "", (t, o), False) for mode in ("torch_compile", "torch") for t, o in SEEDS]
    found += [("adamw", case, impl, "", sizes, False) for case, sizes in ADAMW for impl in ("torch_compile", "torch_fused", "torch")
              if impl != "torch_compile" or len(sizes) == 1]
    for mode in modes:
        for op, suffix, *_ in CASES:
            if mode == "liger" and (op, suffix) not in LIGER:
                continue
            shapes = [(s, False) for s in LARGE]
            shapes += [(SMALL, True)] if suffix in ("", "/residual", "/codes", "/residual/codes") else []
            for shape, dependent in shapes:
                if mode != "torch_compile_autotune" or shape in ((16384, 4096), (16384, 8192), (2048, 4096)):
                    name = f"{shape[0]}x{shape[1]}{suffix}" + ("/dependent" if dependent else "")
                    found.append((op, name, mode, suffix, shape, dependent))
    return [job for job in found if not ops or job[0] in ops]


def function_of(op, suffix, impl, eager, liger):
    plain = next(c[2] for c in CASES if c[:2] == (op, suffix))
    if impl == "liger":
        return liger[(op, suffix)]
    return eager.get((op, suffix), plain) if impl == "torch" else compiled(plain, impl)


class Peers:
    def __init__(self, out, resume):
        self.out, self.rows, self.skipped = out, [], []
        self.l2 = torch.cuda.get_device_properties(0).L2_cache_size
        self.eager, self.liger = eager_functions(), liger_functions()
        if resume and os.path.exists(out):
            with open(out) as f:
                self.rows = json.load(f)["rows"]

    def has(self, op, case, impl):
        return any((r["op"], r["case"], r["impl"]) == (op, case, impl) for r in self.rows)

    def compile(self, op, case, impl, suffix, shape, dependent):
        if op == "adamw":
            adamw_step(impl, shape, 1)(0)
        else:
            make = next(c[3] for c in CASES if c[:2] == (op, suffix))
            function_of(op, suffix, impl, self.eager, self.liger)(*make(shape))
        torch.cuda.synchronize()

    def measure(self, op, case, impl, suffix, shape, dependent):
        if op == "adamw":
            dtype, bytes_moved = "f32", 28 * sum(shape)
            sets = math.ceil(L2_FACTOR * self.l2 / bytes_moved)
            call = adamw_step(impl, shape, sets)
        else:
            plain, make, per_element = next(c[2:] for c in CASES if c[:2] == (op, suffix))
            dtype = "f16"
            bytes_moved = per_element * shape[0] * shape[1] + (4 * shape[0] if "codes" in suffix or op == "quantize_rows" else 0)
            sets = 1 if dependent else max(2, math.ceil(L2_FACTOR * self.l2 / bytes_moved))
            data = [make(shape) for _ in range(sets)]
            function = function_of(op, suffix, impl, self.eager, self.liger)
            error = sane(function(*data[0]), plain(*data[0]))
            if error is not None:
                self.skipped.append(f"{op} {case} {impl}: wrong result, relative error {error:.3g}")
                return
            call = lambda i: function(*data[i % sets])
        times = time_graph(100 if dependent else max(sets, 12), call)
        gbs = bytes_moved / times["p50"] / 1e6
        self.rows.append({"op": op, "case": case, "impl": impl, "dtype": dtype, "bytes": bytes_moved, "ms": times, "gbs": gbs,
                          "regime": "graph of 100 dependent nodes" if dependent else "graph, rotating inputs"})
        print(f"{op:<14} {case:<28} {impl:<22} {1000 * times['p50']:9.2f} us {gbs:7.0f} GB/s", flush=True)

    def write(self):
        with open(self.out + ".part", "w") as f:
            json.dump({"schema": 1, "gpu": torch.cuda.get_device_name(0), "torch": torch.__version__, "rows": self.rows,
                       "skipped": self.skipped}, f, indent=1)
        os.replace(self.out + ".part", self.out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out")
    parser.add_argument("--op", action="append", default=[])
    parser.add_argument("--match", default=".*")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--compile", metavar="I/N")
    options = parser.parse_args()
    begin = time.time()
    torch.set_grad_enabled(False)
    torch.manual_seed(1)
    peers = Peers(options.out, options.resume)
    todo = [job for job in jobs(options.op) if re.fullmatch(options.match, " ".join(job[:3]))]
    if options.compile:
        part, parts = map(int, options.compile.split("/"))
        todo = [job for job in todo if job[2].startswith("torch_compile")][part::parts]
    left = 0
    for job in todo:
        name = f"{job[0]} {job[1]} {job[2]}"
        if time.time() - begin > options.seconds:
            left += 1
            peers.skipped.append(f"{name}: out of time")
            continue
        try:
            if options.compile:
                peers.compile(*job)
            elif not peers.has(*job[:3]):
                peers.measure(*job)
                peers.write()
        except Exception as e:  # noqa: BLE001: a peer that fails is named and skipped
            peers.skipped.append(f"{name}: {type(e).__name__} {str(e)[:200]}")
            print(peers.skipped[-1], flush=True)
        if job[0] == "adamw":
            torch.cuda.empty_cache()
    if not options.compile:
        peers.write()
    print(f"memory_ops: {len(todo) - left} of {len(todo)} in {time.time() - begin:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
