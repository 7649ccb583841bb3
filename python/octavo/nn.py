"""Modules built from the fused ops. Parameter names are those of torch.nn and of Hugging Face's Llama, so state dicts fit."""
import torch
import torch.nn.functional as F
from torch import nn

from . import ops, torch_ops  # noqa: F401


def _expect_one_dimension(name, shape, affine):
    if len(shape) != 1:
        raise ValueError(f"octavo.nn.{name}: normalized_shape {tuple(shape)} has {len(shape)} dimensions, expected 1: the last one")
    if not affine:
        raise ValueError(f"octavo.nn.{name}: elementwise_affine=False is not served; the kernels multiply by a weight")


class RMSNorm(nn.RMSNorm):
    """torch.nn.RMSNorm in one kernel. forward(x) -> y; forward(x, residual) -> (y, x + residual)."""

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None):
        super().__init__(normalized_shape, eps, elementwise_affine, device, dtype)
        _expect_one_dimension("RMSNorm", self.normalized_shape, elementwise_affine)

    def forward(self, x, residual=None):
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps  # as torch.nn.RMSNorm
        return ops.rms_norm(x, self.weight, eps, residual)


class LayerNorm(nn.LayerNorm):
    """torch.nn.LayerNorm in one kernel. forward(x) -> y; forward(x, residual) -> (y, x + residual)."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True, device=None, dtype=None):
        super().__init__(normalized_shape, eps, elementwise_affine, bias, device, dtype)
        _expect_one_dimension("LayerNorm", self.normalized_shape, elementwise_affine)

    def forward(self, x, residual=None):
        return ops.layer_norm(x, self.weight, self.bias, self.eps, residual)


class MLP(nn.Module):
    """The feed-forward block of a transformer; the activation, and for GELU its bias, in one kernel.

    activation "silu": down_proj(silu(gate_proj(x)) * up_proj(x)) (SwiGLU, Llama).
    activation "gelu" or "gelu_tanh": down_proj(gelu(up_proj(x))) (GPT-2 with gelu_tanh).
    """

    def __init__(self, hidden, intermediate, activation="silu", bias=False, device=None, dtype=None):
        super().__init__()
        if activation not in ("silu", "gelu", "gelu_tanh"):
            raise ValueError(f"octavo.nn.MLP: activation {activation!r} is unknown; known are silu, gelu, gelu_tanh")
        place = {"device": device, "dtype": dtype}
        self.activation = activation
        if activation == "silu":
            self.gate_proj = nn.Linear(hidden, intermediate, bias=bias, **place)
        self.up_proj = nn.Linear(hidden, intermediate, bias=bias, **place)
        self.down_proj = nn.Linear(intermediate, hidden, bias=bias, **place)

    def forward(self, x):
        if self.activation == "silu":
            return self.down_proj(ops.silu_mul(self.gate_proj(x), self.up_proj(x)))
        product = F.linear(x, self.up_proj.weight)
        return self.down_proj(ops.bias_gelu(product, self.up_proj.bias, "tanh" if self.activation == "gelu_tanh" else "none"))

    def extra_repr(self):
        return f"activation={self.activation}"
