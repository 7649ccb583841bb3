#!/usr/bin/env python3
"""A Triton product of INT8 codes with fused scales, a bias and bf16 out, tuned for each shape over a short list of tiles: a peer of gemm_w8a8.

Data, checks and timing are those of bench/peers/gemm_int8.py. The tiles compile side by side first (0.5 s each); for each shape those that may win
run once each way (TMA descriptors, pointers), and the fastest is timed.

usage: gemm_triton.py --out FILE [--match START]... [--seconds S] [--burst-only] [--when FILE]
S: start no new case after that many seconds. --when: after compiling, the GPU is left alone until FILE is there.
"""
import argparse
import json
import multiprocessing
import statistics
import time

import torch
import triton
import triton.language as tl

import gemm_int8 as other

# rows, columns, depth of a tile; stages; warps; by which kernel
TILES = [(128, 256, 128, 3, 8), (128, 128, 128, 4, 8), (128, 128, 128, 4, 4), (64, 256, 128, 3, 4), (256, 128, 128, 3, 8), (64, 128, 128, 5, 4),
         (64, 64, 256, 4, 4), (64, 32, 256, 5, 4), (16, 64, 256, 5, 4), (16, 32, 512, 5, 4), (32, 64, 256, 5, 4)]
GROUP = 8


@triton.jit(do_not_specialize=["M"])
def product(x, w, y, x_scale, w_scale, bias, M, N, K, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, GROUP: tl.constexpr):
    tile = tl.program_id(0)
    rows, columns = tl.cdiv(M, ROWS), tl.cdiv(N, COLUMNS)
    first = tile // (GROUP * columns) * GROUP
    height = min(rows - first, GROUP)
    row = first + tile % (GROUP * columns) % height
    column = tile % (GROUP * columns) // height
    x_tiles = tl.make_tensor_descriptor(x, [M, K], [K, 1], [ROWS, DEPTH])
    w_tiles = tl.make_tensor_descriptor(w, [N, K], [K, 1], [COLUMNS, DEPTH])
    y_tiles = tl.make_tensor_descriptor(y, [M, N], [N, 1], [ROWS, COLUMNS])
    acc = tl.zeros((ROWS, COLUMNS), tl.int32)
    for k in range(0, K, DEPTH):
        a = x_tiles.load([row * ROWS, k])
        b = w_tiles.load([column * COLUMNS, k])
        acc = tl.dot(a, b.T, acc, out_dtype=tl.int32)
    r, c = row * ROWS + tl.arange(0, ROWS), column * COLUMNS + tl.arange(0, COLUMNS)
    xs = tl.load(x_scale + r, r < M, 0.0)
    ws, bs = tl.load(w_scale + c, c < N, 0.0), tl.load(bias + c, c < N, 0.0)
    v = acc.to(tl.float32) * ws[None, :] * xs[:, None] + bs[None, :]
    y_tiles.store([row * ROWS, column * COLUMNS], v.to(tl.bfloat16))


@triton.jit(do_not_specialize=["M"])
def product_by_pointers(x, w, y, x_scale, w_scale, bias, M, N, K, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, GROUP: tl.constexpr):
    tile = tl.program_id(0)
    rows, columns = tl.cdiv(M, ROWS), tl.cdiv(N, COLUMNS)
    first = tile // (GROUP * columns) * GROUP
    height = min(rows - first, GROUP)
    row = first + tile % (GROUP * columns) % height
    column = tile % (GROUP * columns) // height
    r, c = row * ROWS + tl.arange(0, ROWS), column * COLUMNS + tl.arange(0, COLUMNS)
    depth = tl.arange(0, DEPTH)
    a_at = x + (r % M)[:, None] * K + depth[None, :]
    b_at = w + (c % N)[None, :] * K + depth[:, None]
    acc = tl.zeros((ROWS, COLUMNS), tl.int32)
    for k in range(0, K, DEPTH):
        acc = tl.dot(tl.load(a_at), tl.load(b_at), acc, out_dtype=tl.int32)
        a_at += DEPTH
        b_at += DEPTH
    xs = tl.load(x_scale + r, r < M, 0.0)
    ws, bs = tl.load(w_scale + c, c < N, 0.0), tl.load(bias + c, c < N, 0.0)
    v = acc.to(tl.float32) * ws[None, :] * xs[:, None] + bs[None, :]
    tl.store(y + r[:, None] * N + c[None, :], v.to(tl.bfloat16), (r < M)[:, None] & (c < N)[None, :])


KERNELS = {"tma": product, "pointers": product_by_pointers}
OPTIONS = [(kind, *tile) for kind in KERNELS for tile in TILES]


def keywords(option):
    _, rows, columns, depth, stages, warps = option
    return {"ROWS": rows, "COLUMNS": columns, "DEPTH": depth, "GROUP": GROUP, "num_stages": stages, "num_warps": warps}


def compile_one(option):
    kernel = KERNELS[option[0]]
    kernel.warmup(torch.int8, torch.int8, torch.bfloat16, torch.float32, torch.float32, torch.float32, 64, 4096, 4096, grid=(1,), **keywords(option))


def compile_all():
    begin = time.monotonic()
    with multiprocessing.get_context("fork").Pool(12) as pool:  # before this process has a CUDA context
        pool.map(compile_one, OPTIONS, chunksize=1)
    print(f"{len(OPTIONS)} kernels compiled in {time.monotonic() - begin:.1f} s", flush=True)


def run(option, t):
    x, w, x_scale, w_scale, bias, y = t
    m, n, k = x.shape[0], w.shape[0], x.shape[1]
    grid = (triton.cdiv(m, option[1]) * triton.cdiv(n, option[2]),)
    KERNELS[option[0]][grid](x, w, y, x_scale, w_scale, bias, m, n, k, **keywords(option))
    return y


def make(m, n, k):
    return other.codes(m, k), other.codes(n, k), other.scales(m), other.scales(n), other.scales(n), torch.empty(m, n, device="cuda", dtype=torch.bfloat16)


def plain(t, rows, columns):
    x, w, x_scale, w_scale, bias, _ = t
    return (x[:rows].float() * x_scale[:rows, None]) @ (w[:columns].float().t() * w_scale[None, :columns]) + bias[None, :columns]


def may_win(option, m):
    rows, columns = option[1:3]
    if m <= 256:
        return rows <= max(16, m) and rows * 4 >= m and columns <= 128
    return rows * columns >= 128 * 128


def graph_ms(peer, sets, replays):
    calls = max(len(sets), 12)
    graph = torch.cuda.CUDAGraph()
    peer.call(sets[0])
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        for i in range(calls):
            peer.call(sets[i % len(sets)])
    graph.replay()
    return statistics.median(other.between_events(1, graph.replay) / calls for _ in range(replays))


def best_peer(m, sets):
    best, least = None, float("inf")
    for option in (o for o in OPTIONS if may_win(o, m)):
        peer = other.Peer("triton_int8", make, lambda t, option=option: run(option, t), plain)
        peer.variant = f"{option[0]} {option[1]}x{option[2]}x{option[3]} s{option[4]} w{option[5]}"
        try:
            other.check(peer, sets[0])
            ms = graph_ms(peer, sets, 3) if m <= 256 else min(other.between_events(3, lambda: peer.call(sets[0])) for _ in range(2))
        except Exception as e:  # shared memory that this GPU does not have
            print(f"{peer.variant}: left out: {str(e).splitlines()[0][:90]}", flush=True)
            continue
        if ms < least:
            best, least = peer, ms
    return best


def times_of(peer, m, sets, burst_only):
    if m <= 256:
        time.sleep(0.1)
        return {"graph, rotating inputs": graph_ms(peer, sets, 9)}

    def call():
        peer.call(sets[0])
    other.between_events(2, call)
    guess = other.between_events(3, call)
    times = {"burst": other.burst_ms(guess, call)}
    if not burst_only:
        times["sustained"] = other.sustained_ms(guess, call)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--match", action="append", help="only cases whose name begins with this (several: any)")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--burst-only", action="store_true")
    parser.add_argument("--when")
    options = parser.parse_args()
    compile_all()
    other.wait_for(options.when)
    begin, rows = time.monotonic(), []
    triton.set_allocator(lambda size, alignment, stream: torch.empty(size, dtype=torch.int8, device="cuda"))  # for the descriptors
    l2_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    for m, n, k in other.SIZES:
        name = f"{m}x{n}x{k}"
        if options.match and not name.startswith(tuple(options.match)):
            continue
        if time.monotonic() - begin > options.seconds:
            break
        inputs = make(m, n, k)
        count = 1 if m > 256 else max(2, -(-other.L2_FACTOR * l2_bytes // sum(t.numel() * t.element_size() for t in inputs)))
        sets = [inputs] + [make(m, n, k) for _ in range(count - 1)]
        peer = best_peer(m, sets)
        for regime, ms in times_of(peer, m, sets, options.burst_only).items() if peer else ():
            tflops = 2 * m * n * k / ms / 1e9
            rows.append({"op": "gemm_w8a8", "case": name, "shape": {"M": m, "N": n, "K": k}, "impl": "triton_int8", "variant": peer.variant,
                         "ms": {"p50": ms}, "tflops": tflops, "regime": regime})
            print(f"{name:<18} triton {peer.variant:<26} {regime:<10.10} {1000 * ms:9.2f} us {tflops:7.0f} TOPS", flush=True)
        with open(options.out, "w") as f:
            json.dump({"schema": 1, "gpu": torch.cuda.get_device_name(0), "torch": torch.__version__, "triton": triton.__version__, "rows": rows}, f, indent=1)


if __name__ == "__main__":
    main()
