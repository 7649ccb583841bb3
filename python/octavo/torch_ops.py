"""torch.ops.octavo.*: every op in torch's dispatcher, for CPU and CUDA tensors, with shapes for the compiler and gradients.

Importing this registers them; `import octavo` does it when torch was imported before.
"""

import torch

from . import _octavo, eager, gradients, ops

_NORM = "Tensor x, Tensor weight, float eps=1e-05"
_NORM_RESIDUAL = "Tensor x, Tensor residual, Tensor weight, float eps=1e-05"
_LAYER = "Tensor x, Tensor weight, Tensor? bias=None, float eps=1e-05"
_LAYER_RESIDUAL = "Tensor x, Tensor residual, Tensor weight, Tensor? bias=None, float eps=1e-05"
_GELU = "Tensor x, Tensor? bias=None, str approximate='none'"
_FUSED = "Tensor x, Tensor x_scale, Tensor w, Tensor w_scale, Tensor? bias=None, str activation='none', Tensor? residual=None, " \
         "ScalarType? dtype=None"
_MASK = "bool causal=True, float? scale=None, int window=0"
SCHEMAS = {
    "rms_norm": f"({_NORM}) -> Tensor",
    "rms_norm_residual": f"({_NORM_RESIDUAL}) -> (Tensor, Tensor)",
    "rms_norm_int8": f"({_NORM}) -> (Tensor, Tensor)",
    "rms_norm_residual_int8": f"({_NORM_RESIDUAL}) -> (Tensor, Tensor, Tensor)",
    "layer_norm": f"({_LAYER}) -> Tensor",
    "layer_norm_residual": f"({_LAYER_RESIDUAL}) -> (Tensor, Tensor)",
    "layer_norm_int8": f"({_LAYER}) -> (Tensor, Tensor)",
    "layer_norm_residual_int8": f"({_LAYER_RESIDUAL}) -> (Tensor, Tensor, Tensor)",
    "silu_mul": "(Tensor gate, Tensor up) -> Tensor",
    "silu_mul_int8": "(Tensor gate, Tensor up) -> (Tensor, Tensor)",
    "bias_gelu": f"({_GELU}) -> Tensor",
    "bias_gelu_int8": f"({_GELU}) -> (Tensor, Tensor)",
    "quantize_rows": "(Tensor x) -> (Tensor, Tensor)",
    "embedding": "(Tensor ids, Tensor table, Tensor? table_scale=None, ScalarType? dtype=None) -> Tensor",
    "rope": "(Tensor x, Tensor positions, Tensor inv_freq, bool interleaved=False, float attention_factor=1.0) -> Tensor",
    "gemm_f": "(Tensor x, Tensor w, Tensor? bias=None) -> Tensor",
    "gemm_w8a16": "(Tensor x, Tensor w, Tensor w_scale, Tensor? bias=None) -> Tensor",
    "gemm_w8a8": "(Tensor x, Tensor x_scale, Tensor w, Tensor w_scale, Tensor? bias=None, Tensor? w_code_sum=None, "
                 "ScalarType? dtype=None) -> Tensor",
    "gemm_w8a8_fused": f"({_FUSED}) -> Tensor",
    "gemm_w8a8_amax": f"({_FUSED}) -> (Tensor, Tensor)",
    "gemm_w8a8_int8": "(Tensor x, Tensor x_scale, Tensor w, Tensor w_scale, Tensor y_scale, Tensor? bias=None, "
                      "Tensor? w_code_sum=None) -> Tensor",
    "gemm_w8a8_s32": "(Tensor x, Tensor w, Tensor? w_code_sum=None) -> Tensor",
    "attention_f": f"(Tensor q, Tensor k, Tensor v, Tensor? kv_len=None, {_MASK}) -> (Tensor, Tensor)",
    "attention_int8": "(Tensor q, Tensor k, Tensor v, bool causal=False, float? scale=None) -> (Tensor, Tensor)",
    "attention_int8_quantize": "(Tensor q, Tensor k, Tensor v) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    "attention_int8_codes": "(Tensor q, Tensor q_scale, Tensor k, Tensor k_scale, Tensor v, Tensor v_scale, bool causal=False, "
                            "float? scale=None, ScalarType? dtype=None) -> (Tensor, Tensor)",
    "attention_f_paged": "(Tensor q, Tensor k_cache, Tensor v_cache, Tensor page_table, Tensor q_start, Tensor kv_len, "
                         f"Tensor? k_scale=None, Tensor? v_scale=None, {_MASK}) -> (Tensor, Tensor)",
    "kv_append": "(Tensor k, Tensor v, Tensor positions, Tensor(a!) k_cache, Tensor(b!) v_cache, Tensor page_table, "
                 "Tensor? sequences=None, Tensor(c!)? k_scale=None, Tensor(d!)? v_scale=None) -> ()",
    "sample": "(Tensor logits, Tensor? history=None, float temperature=1.0, int top_k=0, float top_p=1.0, float min_p=0.0, "
              "float repetition_penalty=1.0, int seed=0, int step=0) -> Tensor",
    "adamw": "(Tensor(a!)[] params, Tensor[] grads, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, Tensor(d!) step, "
             "float lr=0.001, float beta1=0.9, float beta2=0.999, float eps=1e-08, float weight_decay=0.01, Tensor? skip=None, "
             "Tensor? grad_scale=None) -> ()",
}


# ---- shapes, for torch.compile and torch.export ---------------------------------------------------------------------------

def _like(x):
    return torch.empty_like(x)


def _codes(x):
    return x.new_empty(x.shape, dtype=torch.int8), x.new_empty(x.shape[:-1], dtype=torch.float32)


def _product(x, w, dtype):
    return x.new_empty((*x.shape[:-1], w.shape[0]), dtype=dtype)


def _fused(x, x_scale, w, w_scale, bias=None, activation="none", residual=None, dtype=None):
    width = w.shape[0] // 2 if activation == "silu_mul" else w.shape[0]
    return x.new_empty((*x.shape[:-1], width), dtype=dtype or (torch.float32 if residual is None else residual.dtype))


def _attended(q):
    return q.new_empty(q.shape), q.new_empty(q.shape[:-1], dtype=torch.float32)


def _int8_codes(q, k):
    return tuple(q.new_empty(shape, dtype=dtype) for shape, dtype in
                 zip(eager.int8_attention_shapes(q, k), (torch.int8, torch.float32) * 3))


def _embedded(ids, table, table_scale=None, dtype=None):
    return table.new_empty((*ids.shape, table.shape[-1]),
                           dtype=dtype or (torch.float32 if table.dtype == torch.int8 else table.dtype))


FAKES = {
    "rms_norm": lambda x, weight, eps=1e-5: _like(x),
    "rms_norm_residual": lambda x, residual, weight, eps=1e-5: (_like(x), _like(x)),
    "rms_norm_int8": lambda x, weight, eps=1e-5: _codes(x),
    "rms_norm_residual_int8": lambda x, residual, weight, eps=1e-5: (*_codes(x), _like(x)),
    "layer_norm": lambda x, weight, bias=None, eps=1e-5: _like(x),
    "layer_norm_residual": lambda x, residual, weight, bias=None, eps=1e-5: (_like(x), _like(x)),
    "layer_norm_int8": lambda x, weight, bias=None, eps=1e-5: _codes(x),
    "layer_norm_residual_int8": lambda x, residual, weight, bias=None, eps=1e-5: (*_codes(x), _like(x)),
    "silu_mul": lambda gate, up: gate.new_empty(gate.shape),
    "silu_mul_int8": lambda gate, up: _codes(gate),
    "bias_gelu": lambda x, bias=None, approximate="none": _like(x),
    "bias_gelu_int8": lambda x, bias=None, approximate="none": _codes(x),
    "quantize_rows": _codes,
    "embedding": _embedded,
    "rope": lambda x, positions, inv_freq, interleaved=False, attention_factor=1.0: _like(x),
    "gemm_f": lambda x, w, bias=None: _product(x, w, x.dtype),
    "gemm_w8a16": lambda x, w, w_scale, bias=None: _product(x, w, x.dtype),
    "gemm_w8a8": lambda x, x_scale, w, w_scale, bias=None, w_code_sum=None, dtype=None: _product(x, w, dtype or torch.float32),
    "gemm_w8a8_fused": _fused,
    "gemm_w8a8_amax": lambda x, *rest, **options: (_fused(x, *rest, **options), x.new_empty(x.shape[:-1], dtype=torch.float32)),
    "gemm_w8a8_int8": lambda x, x_scale, w, *rest, **options: _product(x, w, torch.int8),
    "gemm_w8a8_s32": lambda x, w, w_code_sum=None: _product(x, w, torch.int32),
    "attention_f": lambda q, k, v, kv_len=None, causal=True, scale=None, window=0: _attended(q),
    "attention_int8": lambda q, k, v, causal=False, scale=None: (_like(q), q.new_empty(q.shape[:-1], dtype=torch.float32)),
    "attention_int8_quantize": lambda q, k, v: _int8_codes(q, k),
    "attention_int8_codes": lambda q, q_scale, k, k_scale, v, v_scale, causal=False, scale=None, dtype=None: (
        q.new_empty(q.shape, dtype=dtype or torch.float32), q.new_empty(q.shape[:-1], dtype=torch.float32)),
    "attention_f_paged": lambda q, *rest, **options: _attended(q),
    "kv_append": lambda *tensors, **options: None,
    "sample": lambda logits, *rest, **options: logits.new_empty((1,), dtype=torch.int32),
    "adamw": lambda *lists, **options: None,
}

# ---- registration ---------------------------------------------------------------------------------------------------------

_library = torch.library.Library("octavo", "DEF")
# NOTE: the kernels check strides, so the compiler must hand them the strides that eager code would.
_TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_exact_strides)


def _register():
    _octavo.use_torch(torch)
    for name, schema in SCHEMAS.items():
        _library.define(name + schema, tags=_TAGS)
        for key in ("CPU", "CUDA"):
            _library.impl(name, getattr(eager, name), key)
        torch.library.register_fake(f"octavo::{name}", FAKES[name], lib=_library)
        if "!" not in schema:
            _library.impl(name, gradients.autograd_kernel(name), "Autograd")
    ops.use_torch(torch, SCHEMAS)


_register()
