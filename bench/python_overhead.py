#!/usr/bin/env python3
"""Host microseconds of one call from Python, beside the bare launch of the same op from C++.

usage: python_overhead.py [--device cuda] [--out FILE] [--most MICROSECONDS]

rms_norm of a small tensor, so that the device is never what is waited for. Best of 15 rounds of 200 calls; the queue is empty before each.
Exit 1 when octavo.rms_norm or torch.ops.octavo.rms_norm takes more than --most over the bare launch (issue 6: 6).
"""
import argparse
import json
import sys
import time
from pathlib import Path

import torch

import octavo
from octavo import _octavo

CALLS, ROUNDS = 200, 15


def host_us(call, synchronise):
    best = float("inf")
    for _ in range(ROUNDS):
        synchronise()
        start = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, (time.perf_counter() - start) / CALLS * 1e6)
    return best


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--most", type=float, default=6.0)
    arguments = parser.parse_args()
    synchronise = torch.cuda.synchronize if arguments.device == "cuda" else lambda: None
    x, w = torch.ones(4, 256, device=arguments.device), torch.ones(256, device=arguments.device)
    y, operator = torch.empty_like(x), torch.ops.octavo.rms_norm
    bare = min((synchronise(), _octavo.time_rms_norm(x, w, y, CALLS))[1] for _ in range(ROUNDS))
    rows = {"bare launch (C++)": bare}
    for name, call in {
            "binding, output given": lambda: _octavo.rms_norm(x, w, None, None, y, None, None, 1e-5),
            "octavo.rms_norm": lambda: octavo.rms_norm(x, w),
            "torch.ops.octavo.rms_norm": lambda: operator(x, w),
            "torch.empty_like": lambda: torch.empty_like(x),
            "torch.nn.functional.rms_norm": lambda: torch.nn.functional.rms_norm(x, (256,), w, 1e-5)}.items():
        rows[name] = host_us(call, synchronise)
    for name, us in rows.items():
        print(f"{name:30} {us:7.2f} us   over bare {us - bare:7.2f}")
    over = {name: rows[name] - bare for name in ("octavo.rms_norm", "torch.ops.octavo.rms_norm")}
    if arguments.out:
        device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
        arguments.out.write_text(json.dumps({"device": device, "torch": torch.__version__, "host_us": rows, "over_bare_us": over["octavo.rms_norm"]}) + "\n")
    print("over the bare launch: " + ", ".join(f"{name} {us:.2f} us" for name, us in over.items()) + f" (at most {arguments.most:g})")
    return 0 if max(over.values()) <= arguments.most else 1


if __name__ == "__main__":
    sys.exit(main())
