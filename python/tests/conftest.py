"""Devices of the tests: "cpu" always, "cuda" where torch sees a GPU and the package was built for it; else skipped by name."""
import gc
import os
import sys

import pytest

import octavo

# Kernels that torch.compile writes are compiled here, not by a pool of processes that each import torch first.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
# torch.compile on the CPU otherwise builds and imports a probe for each instruction set, which can take minutes.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "0")


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
        if "cuda" not in octavo.build_info()["backends"]:
            pytest.skip("octavo was built for the CPU only")
    return request.param


@pytest.fixture
def cuda():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not torch.cuda.is_available() or "cuda" not in octavo.build_info()["backends"]:
        pytest.skip("no CUDA device, or octavo was built for the CPU only")
    return torch


def resident_bytes():
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def device_bytes():
    torch = sys.modules.get("torch")
    return torch.cuda.memory_allocated() if torch and torch.cuda.is_available() else 0


@pytest.fixture
def expect_no_growth():
    """expect_no_growth(body, times, most): calls body so often that a leak of a few bytes a call would show."""

    def check(body, times, most_bytes):
        for _ in range(max(20, times // 20)):
            body()
        before, on_device = resident_bytes(), device_bytes()
        for _ in range(times):
            body()
        grown = resident_bytes() - before
        assert grown < most_bytes, f"{grown} bytes more after {times} calls"
        assert device_bytes() <= on_device, f"{device_bytes() - on_device} bytes more on the device after {times} calls"

    return check
