"""Each op at once: makes the outputs and calls the kernel. Takes torch tensors, or NumPy arrays on the CPU.

Signatures are those of torch.ops.octavo.*; shapes and errors are described in octavo.ops and checked by the library.
"""
import functools
import sys

from . import _octavo


def _arrays_of(x):
    """The module that makes outputs beside x: torch or NumPy."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(x, torch.Tensor) else __import__("numpy")


def _new(x, shape, dtype):
    """dtype: a name that torch and NumPy share, or a dtype."""
    arrays = _arrays_of(x)
    dtype = getattr(arrays, dtype) if isinstance(dtype, str) else dtype
    return arrays.empty(shape, dtype=dtype) if arrays.__name__ == "numpy" else arrays.empty(shape, dtype=dtype, device=x.device)


_codes = _octavo.new_codes  # (op, x) -> int8 as x, a float32 each row


def _changed(tensors):
    """Tells autograd, so that a backward pass that needs the old values fails instead of using the new ones."""
    torch = sys.modules.get("torch")
    tracked = [t for t in tensors if torch is not None and isinstance(t, torch.Tensor) and not t.is_inference()]
    if tracked:
        torch.autograd.graph.increment_version(tracked)


rms_norm = _octavo.make_rms_norm  # (x, weight, eps=1e-5)


def rms_norm_residual(x, residual, weight, eps=1e-5):
    return _octavo.make_rms_norm(x, weight, eps, residual)


def rms_norm_int8(x, weight, eps=1e-5):
    codes, scale = _codes("rms_norm", x)
    _octavo.rms_norm(x, weight, None, None, None, codes, scale, eps)
    return codes, scale


def rms_norm_residual_int8(x, residual, weight, eps=1e-5):
    (codes, scale), u = _codes("rms_norm", x), _octavo.new_like(x)
    _octavo.rms_norm(x, weight, residual, u, None, codes, scale, eps)
    return codes, scale, u


layer_norm = _octavo.make_layer_norm  # (x, weight, bias=None, eps=1e-5)


def layer_norm_residual(x, residual, weight, bias=None, eps=1e-5):
    return _octavo.make_layer_norm(x, weight, bias, eps, residual)


def layer_norm_int8(x, weight, bias=None, eps=1e-5):
    codes, scale = _codes("layer_norm", x)
    _octavo.layer_norm(x, weight, bias, None, None, None, codes, scale, eps)
    return codes, scale


def layer_norm_residual_int8(x, residual, weight, bias=None, eps=1e-5):
    (codes, scale), u = _codes("layer_norm", x), _octavo.new_like(x)
    _octavo.layer_norm(x, weight, bias, residual, u, None, codes, scale, eps)
    return codes, scale, u


def silu_mul(gate, up):
    out = _new(gate, gate.shape, gate.dtype)  # NOTE: not like gate, which may be every second column of a wider tensor
    _octavo.silu_mul(gate, up, out, None, None)
    return out


def silu_mul_int8(gate, up):
    codes, scale = _codes("silu_mul", gate)
    _octavo.silu_mul(gate, up, None, codes, scale)
    return codes, scale


def _tanh_form(approximate):
    if approximate not in ("none", "tanh"):
        from .errors import UsageError
        raise UsageError(f"bias_gelu: approximate is {approximate!r}, expected 'none' (erf) or 'tanh'")
    return approximate == "tanh"


def bias_gelu(x, bias=None, approximate="none"):
    out = _octavo.new_like(x)
    _octavo.bias_gelu(x, bias, out, None, None, _tanh_form(approximate))
    return out


def bias_gelu_int8(x, bias=None, approximate="none"):
    codes, scale = _codes("bias_gelu", x)
    _octavo.bias_gelu(x, bias, None, codes, scale, _tanh_form(approximate))
    return codes, scale


def quantize_rows(x):
    codes, scale = _codes("quantize_rows", x)
    _octavo.quantize_rows(x, codes, scale, None)
    return codes, scale


def embedding(ids, table, table_scale=None, dtype=None):
    if dtype is None:
        dtype = "float32" if str(table.dtype).endswith("int8") else table.dtype
    out = _new(table, (*ids.shape, table.shape[-1]), dtype)
    _octavo.embedding(ids, table, table_scale, out)
    return out


def rope(x, positions, inv_freq, interleaved=False, attention_factor=1.0):
    out = _octavo.new_like(x)
    _octavo.rope(x, positions, inv_freq, out, interleaved, attention_factor)
    return out


def gemm_f(x, w, bias=None):
    y = _new(x, (*x.shape[:-1], w.shape[0]), x.dtype)
    _octavo.gemm_f(x, w, bias, y)
    return y


def gemm_w8a16(x, w, w_scale, bias=None):
    y = _new(x, (*x.shape[:-1], w.shape[0]), x.dtype)
    _octavo.gemm_w8a16(x, w, w_scale, bias, y)
    return y


def gemm_w8a8(x, x_scale, w, w_scale, bias=None, w_code_sum=None, dtype=None):
    y = _new(x, (*x.shape[:-1], w.shape[0]), "float32" if dtype is None else dtype)
    _octavo.gemm_w8a8(x, x_scale, w, w_scale, w_code_sum, bias, y)
    return y


def _fused(x, x_scale, w, w_scale, bias, activation, residual, dtype, y_amax=None):
    known = _octavo.GemmActivation.__members__
    if activation not in known:
        from .errors import UsageError
        raise UsageError(f"gemm_w8a8: activation is {activation!r}, expected one of {', '.join(map(repr, known))}")
    if dtype is None:
        dtype = "float32" if residual is None else residual.dtype
    y = _new(x, (*x.shape[:-1], w.shape[0] // 2 if activation == "silu_mul" else w.shape[0]), dtype)
    _octavo.gemm_w8a8(x, x_scale, w, w_scale, None, bias, y, known[activation], residual, None, y_amax)
    return y


def gemm_w8a8_fused(x, x_scale, w, w_scale, bias=None, activation="none", residual=None, dtype=None):
    return _fused(x, x_scale, w, w_scale, bias, activation, residual, dtype)


def gemm_w8a8_amax(x, x_scale, w, w_scale, bias=None, activation="none", residual=None, dtype=None):
    amax = _new(x, x.shape[:-1], "float32")
    amax[...] = 0
    return _fused(x, x_scale, w, w_scale, bias, activation, residual, dtype, amax), amax


def gemm_w8a8_int8(x, x_scale, w, w_scale, y_scale, bias=None, w_code_sum=None):
    codes = _new(x, (*x.shape[:-1], w.shape[0]), "int8")
    _octavo.gemm_w8a8(x, x_scale, w, w_scale, w_code_sum, bias, codes, y_scale=y_scale)
    return codes


def gemm_w8a8_s32(x, w, w_code_sum=None):
    y = _new(x, (*x.shape[:-1], w.shape[0]), "int32")
    _octavo.gemm_w8a8(x, None, w, None, w_code_sum, None, y)
    return y


def _scale_of(q, scale):
    return q.shape[-1] ** -0.5 if scale is None else scale


def _int32s(make, q, *numbers):
    """make(*numbers): int32 beside q. On CUDA kept for the next call; by stream, so that none reads it before it is written."""
    arrays = _arrays_of(q)
    if arrays.__name__ == "numpy":
        return make(arrays, *numbers)
    if not q.is_cuda or arrays.cuda.is_current_stream_capturing():
        return make(arrays, *numbers, device=q.device)
    return _kept_int32s(make, q.device, arrays.cuda.current_stream(q.device).cuda_stream, *numbers)


@functools.lru_cache(maxsize=512)
def _kept_int32s(make, device, stream, *numbers):
    return make(sys.modules["torch"], *numbers, device=device)


def _starts(arrays, sequences, queries, **place):
    return arrays.arange(sequences + 1, dtype=arrays.int32, **place) * queries


def _lengths(arrays, sequences, keys, **place):
    return arrays.full((sequences,), keys, dtype=arrays.int32, **place)


def attention_f(q, k, v, kv_len=None, causal=True, scale=None, window=0):
    sequences, queries = q.shape[0], q.shape[1]
    q_start = _int32s(_starts, q, sequences, queries)
    if kv_len is None:
        kv_len = _int32s(_lengths, q, sequences, k.shape[1])
    out, lse = _new(q, q.shape, q.dtype), _new(q, q.shape[:-1], "float32")
    _octavo.attention(q, k, v, q_start, kv_len, out, lse, causal, _scale_of(q, scale), window)
    return out, lse


def attention_int8(q, k, v, causal=False, scale=None):
    out, lse = _octavo.new_like(q), _new(q, q.shape[:-1], "float32")
    _octavo.attention_int8(q, k, v, out, lse, causal, _scale_of(q, scale))
    return out, lse


def int8_attention_shapes(q, k):
    """Of the outputs of attention_int8_quantize: codes and scales of q, k and v (pages of 64 keys, transposed)."""
    tile = _octavo.attention_int8_tile_keys
    rows, keys = k.shape[:2], k.shape[2]
    return (q.shape, q.shape[:3], k.shape, k.shape[:3], (*rows, -(-keys // 64), k.shape[3] * 64), (*rows, -(-keys // tile), k.shape[3]))


def attention_int8_quantize(q, k, v):
    outputs = tuple(_new(q, shape, dtype) for shape, dtype in zip(int8_attention_shapes(q, k), ("int8", "float32") * 3))
    _octavo.attention_int8_quantize(q, k, v, *outputs)
    return outputs


def attention_int8_codes(q, q_scale, k, k_scale, v, v_scale, causal=False, scale=None, dtype=None):
    out, lse = _new(q, q.shape, "float32" if dtype is None else dtype), _new(q, q.shape[:-1], "float32")
    _octavo.attention_int8_codes(q, q_scale, k, k_scale, v, v_scale, out, lse, causal, _scale_of(q, scale))
    return out, lse


def attention_f_paged(q, k_cache, v_cache, page_table, q_start, kv_len, k_scale=None, v_scale=None, causal=True, scale=None, window=0):
    out, lse = _new(q, q.shape, q.dtype), _new(q, q.shape[:-1], "float32")
    _octavo.attention_paged(q, k_cache, v_cache, page_table, q_start, kv_len, k_scale, v_scale, out, lse, causal,
                            _scale_of(q, scale), window)
    return out, lse


def kv_append(k, v, positions, k_cache, v_cache, page_table, sequences=None, k_scale=None, v_scale=None):
    _octavo.kv_append(k, v, positions, sequences, k_cache, v_cache, page_table, k_scale, v_scale)
    _changed([k_cache, v_cache, k_scale, v_scale])


def sample(logits, history=None, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, seed=0, step=0):
    token = _new(logits, (1,), "int32")
    _octavo.sample(logits, history, token, temperature, top_k, top_p, min_p, repetition_penalty, seed, step)
    return token


def adamw(params, grads, exp_avgs, exp_avg_sqs, step, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2, skip=None,
          grad_scale=None):
    _octavo.adamw(params, grads, exp_avgs, exp_avg_sqs, step, lr, beta1, beta2, eps, weight_decay, skip, grad_scale)
    _changed([*params, *exp_avgs, *exp_avg_sqs, step])
