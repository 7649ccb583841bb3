"""Modules built from the fused ops. Parameter names are those of torch.nn and of Hugging Face's Llama, so state dicts fit."""
import torch
import torch.nn.functional as F
from torch import nn

from . import ops, torch_ops  # noqa: F401
from .errors import UsageError


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


class Int8Linear(nn.Module):
    """nn.Linear with INT8 weights: codes [out, in], a float32 scale each output, quantised as docs/numerics.md says. Learns nothing.

    mode "w8a16": activations stay floats. "w8a8": each row of them is quantised too, sums are exact. "auto": w8a16 up to FEW_ROWS
    rows (decoding), w8a8 above (prefill, large batches). Made by from_linear or, for whole models, by octavo.quantize_.
    """
    FEW_ROWS = 16
    MODES = ("auto", "w8a16", "w8a8")

    def __init__(self, in_features, out_features, bias=True, device=None, mode="auto"):
        super().__init__()
        if mode not in self.MODES:
            raise UsageError(f"octavo.nn.Int8Linear: mode is {mode!r}, expected one of {', '.join(self.MODES)}")
        self.in_features, self.out_features, self.mode = in_features, out_features, mode
        self.register_buffer("weight", torch.zeros(out_features, in_features, dtype=torch.int8, device=device))
        self.register_buffer("weight_scale", torch.ones(out_features, device=device))
        self.register_buffer("bias", torch.zeros(out_features, device=device) if bias else None)

    @classmethod
    def from_linear(cls, linear, mode="auto"):
        """The INT8 form of an nn.Linear, on its device."""
        if linear.weight.is_meta:
            raise UsageError("octavo.nn.Int8Linear: the weight is on the meta device; load it before it is quantised")
        made = cls(linear.in_features, linear.out_features, linear.bias is not None, linear.weight.device, mode)
        with torch.no_grad():
            made.weight, made.weight_scale = ops.quantize_rows(linear.weight.detach())
            if linear.bias is not None:
                made.bias = linear.bias.detach().float().clone()
        return made.train(linear.training)

    def _apply(self, fn, recurse=True):
        def keep_type(tensor):  # NOTE: model.half() moves scale and bias, but leaves them float32, as the kernels take them
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_type, recurse)

    def forward(self, x):
        few = self.mode == "w8a16" or (self.mode == "auto" and x.numel() <= self.FEW_ROWS * self.in_features)
        if few:
            return ops.gemm_w8a16(x, self.weight, self.weight_scale, self.bias)
        codes, scale = ops.quantize_rows(x)
        return ops.gemm_w8a8(codes, scale, self.weight, self.weight_scale, self.bias, None, x.dtype)

    def extra_repr(self):
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, mode={self.mode}"


def quantize_(module, mode="auto", skip=()):
    """Replaces every nn.Linear inside `module` by its Int8Linear, in place; -> module. skip: names of submodules that stay as they are,
    with all inside them ("lm_head", "model.layers.0"). Subclasses of nn.Linear stay, too."""
    if type(module) is nn.Linear:
        raise UsageError("octavo.quantize_: the module is itself an nn.Linear, which cannot be replaced in place; "
                         "use octavo.nn.Int8Linear.from_linear")
    skip = {skip} if isinstance(skip, str) else set(skip)
    unknown = skip - {name for name, _ in module.named_modules()}
    if unknown:
        raise UsageError(f"octavo.quantize_: skip names {sorted(unknown)[0]!r}, but the module has no submodule of that name")

    def replace_in(parent, prefix):
        for name, child in parent.named_children():
            if prefix + name in skip:
                continue
            if type(child) is nn.Linear:
                setattr(parent, name, Int8Linear.from_linear(child, mode))
            else:
                replace_in(child, f"{prefix}{name}.")

    replace_in(module, "")
    return module
