"""Gradients of the float ops, composed of torch's own operations (octavo has no backward kernels yet).

Each formula works in fp32 and rounds once. The other ops have none, and say so when one is asked for.
"""
import torch

from . import _octavo, eager


def _save(ctx, inputs, output):
    """setup_context that keeps all inputs: tensors as autograd wants it, the rest as it is."""
    ctx.tensors_at = [i for i, value in enumerate(inputs) if isinstance(value, torch.Tensor)]
    ctx.inputs = [None if isinstance(value, torch.Tensor) else value for value in inputs]
    ctx.save_for_backward(*(inputs[i] for i in ctx.tensors_at))


def _inputs(ctx):
    values = list(ctx.inputs)
    for i, tensor in zip(ctx.tensors_at, ctx.saved_tensors):
        values[i] = tensor
    return values


def _over_rows(g):
    return g.flatten(0, -2).sum(0) if g.dim() > 1 else g


def _rms_parts(g, u, weight, eps):
    """-> gradients of u and weight in fp32."""
    u, g = u.float(), g.float()
    r = torch.rsqrt(u.pow(2).mean(-1, keepdim=True) + eps)
    normal = u * r
    gw = g * weight.float()
    return r * (gw - normal * (gw * normal).mean(-1, keepdim=True)), _over_rows(g * normal)


def _rms_norm(ctx, g):
    x, weight, eps = _inputs(ctx)
    gu, gw = _rms_parts(g, x, weight, eps)
    return gu.to(x.dtype), gw.to(weight.dtype), None


def _rms_norm_residual(ctx, g, g_u):
    u, weight = ctx.saved_tensors
    gu, gw = _rms_parts(g, u, weight, ctx.eps)
    gu = (gu + g_u.float()).to(u.dtype)
    return gu, gu, gw.to(weight.dtype), None


def _save_u(ctx, inputs, output):
    ctx.eps = inputs[-1]
    ctx.save_for_backward(output[1], *(t for t in inputs[2:-1] if t is not None))


def _layer_parts(g, u, weight, eps):
    u, g = u.float(), g.float()
    centred = u - u.mean(-1, keepdim=True)
    r = torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + eps)
    normal = centred * r
    gw = g * weight.float()
    gu = r * (gw - gw.mean(-1, keepdim=True) - normal * (gw * normal).mean(-1, keepdim=True))
    return gu, _over_rows(g * normal), _over_rows(g)


def _layer_norm(ctx, g):
    x, weight, bias, eps = _inputs(ctx)
    gu, gw, gb = _layer_parts(g, x, weight, eps)
    return gu.to(x.dtype), gw.to(weight.dtype), None if bias is None else gb.to(bias.dtype), None


def _layer_norm_residual(ctx, g, g_u):
    u, weight, *bias = ctx.saved_tensors
    gu, gw, gb = _layer_parts(g, u, weight, ctx.eps)
    gu = (gu + g_u.float()).to(u.dtype)
    return gu, gu, gw.to(weight.dtype), gb.to(bias[0].dtype) if bias else None, None


def _silu_mul(ctx, g):
    gate, up = ctx.saved_tensors
    x, g = gate.float(), g.float()
    s = torch.sigmoid(x)
    return (g * up.float() * s * (1 + x * (1 - s))).to(gate.dtype), (g * x * s).to(up.dtype)


def _bias_gelu(ctx, g):
    x, bias, approximate = _inputs(ctx)
    v = x.float() if bias is None else x.float() + bias.float()
    gv = torch.ops.aten.gelu_backward(g.float(), v, approximate=approximate)
    return gv.to(x.dtype), None if bias is None else _over_rows(gv).to(bias.dtype), None


def _embedding(ctx, g):
    ids, table, table_scale, dtype = _inputs(ctx)
    if table_scale is not None:
        return None, None, None, None  # INT8 tables do not learn
    gt = torch.ops.aten.embedding_dense_backward(g.contiguous(), ids, table.shape[0], -1, False)
    return None, gt.to(table.dtype), None, None


def _rope(ctx, g):
    x, positions, inv_freq, interleaved, attention_factor = _inputs(ctx)
    turned_back = torch.ops.octavo.rope(g.contiguous(), positions, -inv_freq, interleaved, attention_factor)
    return turned_back, None, None, None, None


def _gemm_f(ctx, g):
    x, w, bias = _inputs(ctx)
    rows = g.flatten(0, -2) if g.dim() > 1 else g[None]
    inputs = x.flatten(0, -2) if x.dim() > 1 else x[None]
    gx = (g @ w.to(g.dtype)).to(x.dtype)
    gw = (rows.t() @ inputs.to(g.dtype)).to(w.dtype)
    return gx, gw, None if bias is None else _over_rows(g.float()).to(bias.dtype)


def _refuse(name):
    def backward(ctx, *grads):
        raise RuntimeError(f"octavo.{name} has no gradient; call it under torch.no_grad(), or detach its inputs")

    return backward, lambda ctx, inputs, output: None


FORMULAS = {
    "rms_norm": (_rms_norm, _save),
    "rms_norm_residual": (_rms_norm_residual, _save_u),
    "layer_norm": (_layer_norm, _save),
    "layer_norm_residual": (_layer_norm_residual, _save_u),
    "silu_mul": (_silu_mul, _save),
    "bias_gelu": (_bias_gelu, _save),
    "embedding": (_embedding, _save),
    "rope": (_rope, _save),
    "gemm_f": (_gemm_f, _save),
}


def autograd_kernel(name):
    """What torch's dispatcher calls first for torch.ops.octavo.<name>: keeps what the gradient needs, if one is asked for.

    NOTE: without a gradient, a mode or a subclass the kernel is called from here. torch.library.register_autograd would send
    every call through the dispatcher once more: 6.8 us a call on an H200 machine, of 14.3.
    """
    op = getattr(torch.ops.octavo, name).default
    formula, setup = FORMULAS.get(name) or _refuse(name)
    defaults = [argument.default_value for argument in op._schema.arguments]

    def below(*arguments):
        with torch._C._AutoDispatchBelowAutograd():
            return op(*arguments)

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *arguments):  # NOTE: the dispatcher leaves out trailing arguments that equal their defaults
            output = below(*arguments)
            ctx.given = len(arguments)
            setup(ctx, (*arguments, *defaults[len(arguments):]), output)
            return output

        @staticmethod
        def backward(ctx, *grads):
            return formula(ctx, *grads)[:ctx.given]

    Gradient.__name__ = Gradient.__qualname__ = f"octavo_{name}"

    def through_torch(*arguments):
        if torch.is_grad_enabled() and any(isinstance(a, torch.Tensor) and a.requires_grad for a in arguments):
            return Gradient.apply(*arguments)
        return below(*arguments)

    return _octavo.guarded(getattr(eager, name), through_torch)
