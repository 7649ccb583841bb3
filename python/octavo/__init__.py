"""octavo: language models in eight bits. The engine (`LLM`), and every kernel as a function of tensors.

    import octavo
    print(octavo.LLM().generate("Once upon a time", seed=1).text)       # the built-in model; needs no torch

    y = octavo.rms_norm(x, weight)                                      # torch tensors, or NumPy arrays on the CPU
    norm = octavo.nn.RMSNorm(4096); optimizer = octavo.optim.AdamW(model.parameters())

With torch imported, the same kernels are torch.ops.octavo.*; docs/python.md lists them.
"""
import importlib
import sys

from . import _octavo
from ._octavo import get_num_threads, set_num_threads
from .errors import DeviceFaultError, Error, ModelError, NoDeviceError, OutOfMemoryError, UsageError
from .llm import LLM, Generation, TextStream
from .ops import (adamw, attention_f, attention_f_paged, attention_int8, attention_int8_codes, attention_int8_quantize, bias_gelu,
                  embedding, gemm_f, gemm_w8a8, gemm_w8a8_s32, gemm_w8a16, kv_append, layer_norm, quantize_rows, rms_norm, rope,
                  sample, silu_mul)

__version__ = _octavo.version + ("+cuda" if _octavo.cuda_architectures else "+cpu")
__all__ = ["LLM", "Generation", "TextStream", "Error", "UsageError", "ModelError", "OutOfMemoryError", "NoDeviceError",
           "DeviceFaultError", "build_info", "get_num_threads", "set_num_threads", "adamw", "attention_f", "attention_f_paged",
           "attention_int8", "attention_int8_codes", "attention_int8_quantize", "bias_gelu", "embedding", "gemm_f", "gemm_w8a8",
           "gemm_w8a8_s32", "gemm_w8a16", "kv_append", "layer_norm", "quantize_rows", "rms_norm", "rope", "sample", "silu_mul"]
_OF_TORCH = {"sdpa": "attention", "patched_sdpa": "attention", "register_with_transformers": "attention", "quantize_": "nn"}


def build_info() -> dict:
    """What this package was built with: version, CPU instruction sets that run here, CUDA architectures, ops with CUDA kernels."""
    architectures = _octavo.cuda_architectures
    return {"version": __version__, "backends": ["cpu", "cuda"] if architectures else ["cpu"], "cpu_isas": _octavo.cpu_isas(),
            "cuda_architectures": architectures.split(", ") if architectures else [], "cuda_ops": _octavo.cuda_ops()}


def __getattr__(name):  # what needs torch is loaded when it is asked for
    if name in ("nn", "optim", "torch_ops", "attention"):
        return importlib.import_module(f"octavo.{name}")
    if name in _OF_TORCH:
        return getattr(importlib.import_module(f"octavo.{_OF_TORCH[name]}"), name)
    raise AttributeError(f"module 'octavo' has no attribute '{name}'")


if "torch" in sys.modules:
    from . import torch_ops  # noqa: F401  (registers torch.ops.octavo.*)
