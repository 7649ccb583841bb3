"""The ops as functions of tensors: x [..., width] with any leading dimensions, torch (CPU or CUDA) or NumPy (CPU).

Outputs are new tensors on the inputs' device and torch's current stream. Nothing is converted or copied: a tensor of a wrong
type, shape, device or stride raises UsageError, which names the op, the argument and what it should have been.
float types: f32, f16, bf16. Formulas, numerics and measurements: src/ops/<op>/<op>.md.

In eager code without gradients the kernel is called directly; otherwise, and under torch.compile, functorch or a dispatch
mode, the call goes through torch.ops.octavo.
"""
import sys
from types import SimpleNamespace

from . import _octavo, eager

_torch = None
_calls = eager  # with torch: each op by name, through torch.ops.octavo where torch must see the call


def use_torch(torch, names):
    """Called by torch_ops once torch.ops.octavo has these ops."""
    global _torch, _calls, _is_tracing
    _is_tracing, _torch = torch.compiler.is_dynamo_compiling, torch
    _calls = SimpleNamespace(**{name: _octavo.guarded(getattr(eager, name), getattr(torch.ops.octavo, name)) for name in names})


def _ops():
    """Where the ops are called: torch's compiler must see torch.ops.octavo itself."""
    if _torch is None:
        if "torch" not in sys.modules:
            return _calls
        from . import torch_ops  # noqa: F401
    return _torch.ops.octavo if _is_tracing() else _calls


def rms_norm(x, weight, eps=1e-5, residual=None, *, int8=False):
    """u / sqrt(mean(u^2) + eps) * weight with u = x, or u = x + residual (arXiv 1910.07467).

    x, residual: [..., width] of one float type, rows at any distance. weight: [width] float.
    -> y [..., width]; with residual (y, u); with int8 (codes int8 [..., width], scale float32 [...]) as of quantize_rows,
    with both (codes, scale, u).
    """
    ops = _ops()
    if residual is None:
        return ops.rms_norm_int8(x, weight, eps) if int8 else ops.rms_norm(x, weight, eps)
    return ops.rms_norm_residual_int8(x, residual, weight, eps) if int8 else ops.rms_norm_residual(x, residual, weight, eps)


def layer_norm(x, weight, bias=None, eps=1e-5, residual=None, *, int8=False):
    """(u - mean(u)) / sqrt(var(u) + eps) * weight + bias (arXiv 1607.06450); u and the results as in rms_norm.

    weight, bias: [width] float, of one type.
    """
    ops = _ops()
    if residual is None:
        return ops.layer_norm_int8(x, weight, bias, eps) if int8 else ops.layer_norm(x, weight, bias, eps)
    if int8:
        return ops.layer_norm_residual_int8(x, residual, weight, bias, eps)
    return ops.layer_norm_residual(x, residual, weight, bias, eps)


def silu_mul(gate, up, *, int8=False):
    """gate * sigmoid(gate) * up, SwiGLU's product (arXiv 2002.05202).

    gate, up: [..., width] of one float type and any strides: two tensors, halves of one, or every second column.
    -> [..., width]; with int8 (codes, scale) as of quantize_rows.
    """
    ops = _ops()
    return ops.silu_mul_int8(gate, up) if int8 else ops.silu_mul(gate, up)


def bias_gelu(x, bias=None, approximate="none", *, int8=False):
    """GELU of x + bias (arXiv 1606.08415); approximate "none" (erf) or "tanh", as torch.nn.functional.gelu.

    x: [..., width] float. bias: [width] float. -> [..., width]; with int8 (codes, scale) as of quantize_rows.
    """
    ops = _ops()
    return ops.bias_gelu_int8(x, bias, approximate) if int8 else ops.bias_gelu(x, bias, approximate)


def quantize_rows(x):
    """Each row to INT8: scale = amax / 127, codes = round_half_even(x / scale) in -127..127 (docs/numerics.md).

    x: [..., width] float. -> codes int8 [..., width], scale float32 [...]; x is about codes * scale[..., None].
    A row of zeros has scale 1; a row with NaN or Inf has scale NaN and codes 0.
    """
    return _ops().quantize_rows(x)


def embedding(ids, table, table_scale=None, dtype=None):
    """Rows of a table: table[ids], times table_scale[ids] for an int8 table.

    ids: [...] int32; outside the table: an error on the CPU, a row of NaN on CUDA. table: [V, width] float or int8.
    table_scale: [V] float32, with an int8 table only. dtype: of the result; None: the table's, float32 for int8.
    """
    return _ops().embedding(ids, table, table_scale, dtype)


def rope(x, positions, inv_freq, interleaved=False, attention_factor=1.0):
    """Rotary position embedding (arXiv 2104.09864) of the first 2 * len(inv_freq) elements of every head.

    x: [..., heads, width] float. positions: [...] int32, one a token. inv_freq: float32, one a pair.
    interleaved: pairs (2i, 2i + 1) as GPT-J; otherwise (i, i + n) as Hugging Face Llama.
    """
    return _ops().rope(x, positions, inv_freq, interleaved, attention_factor)


def gemm_f(x, w, bias=None):
    """x w^T + bias, sums in fp32. x: [..., K] float. w: [N, K] float. bias: [N] float32. -> [..., N] of x's type."""
    return _ops().gemm_f(x, w, bias)


def gemm_w8a16(x, w, w_scale, bias=None):
    """x (w * w_scale)^T + bias with INT8 weights and float activations, sums in fp32.

    x: [..., K] float. w: [N, K] int8. w_scale, bias: [N] float32. -> [..., N] of x's type.
    """
    return _ops().gemm_w8a16(x, w, w_scale, bias)


def gemm_w8a8(x, x_scale, w, w_scale, bias=None, w_code_sum=None, dtype=None, *, activation="none", residual=None, amax=False,
              y_scale=None):
    """INT8 product with scales, exact in s32 before them, the same bits on every backend.

    x: [..., K] int8, K <= 131,071. x_scale: [...] float32. w: [N, K] int8. w_scale, bias: [N] float32.
    w_code_sum: [N] int32, the sums of w's rows, saves AVX-512 machines work. dtype: float32 (default), float16 or bfloat16.
    What may follow before the one rounding: activation "gelu" (erf), "gelu_tanh" or "silu_mul" (w's rows alternate gate and up, the
    result is [..., N / 2]); or residual [..., N], added, whose type the result has. amax: -> (y, float32 [...]), the largest |y| of
    each row, y of 16 bits. y_scale [1] float32, without these: -> int8, round_half_even(y / y_scale) in -127..127.
    """
    ops = _ops()
    plain = activation == "none" and residual is None and not amax
    if y_scale is not None:
        if not plain or dtype is not None:
            from .errors import UsageError
            raise UsageError("gemm_w8a8: y_scale makes int8 of the scaled product alone; leave activation, residual, amax and dtype out")
        return ops.gemm_w8a8_int8(x, x_scale, w, w_scale, y_scale, bias, w_code_sum)
    if plain:
        return ops.gemm_w8a8(x, x_scale, w, w_scale, bias, w_code_sum, dtype)
    fused = ops.gemm_w8a8_amax if amax else ops.gemm_w8a8_fused
    return fused(x, x_scale, w, w_scale, bias, activation, residual, dtype)


def gemm_w8a8_s32(x, w, w_code_sum=None):
    """The sums themselves: x [..., K] int8, w [N, K] int8 -> [..., N] int32."""
    return _ops().gemm_w8a8_s32(x, w, w_code_sum)


def attention_f(q, k, v, kv_len=None, causal=True, scale=None, window=0):
    """softmax(scale q k^T + mask) v. q: [B, Sq, Hq, D] float; k, v: [B, Sk, Hkv, D] of one layout, Hq a multiple of Hkv.

    kv_len: [B] int32, keys of each sequence (default Sk). causal: query i sees keys up to i + kv_len - Sq (bottom right).
    scale: default D^-0.5. window > 0: only the last so many keys. -> out as q, lse float32 [B, Sq, Hq] (natural log).
    """
    return _ops().attention_f(q, k, v, kv_len, causal, scale, window)


def attention_int8(q, k, v, causal=False, scale=None):
    """attention_f in INT8: q and k quantised a row, v a tile of keys and channel, both products on exact s32 sums.

    q: [B, Hq, Sq, D] f32, f16 or bf16; k, v: [B, Hkv, Sk, D] of the same type; any strides but in D, a multiple of 16 up to 256 (on
    Hopper 128). causal and scale as in attention_f. -> out as q, lse float32 [B, Hq, Sq].
    """
    return _ops().attention_int8(q, k, v, causal, scale)


def attention_int8_quantize(q, k, v):
    """The first half of attention_int8 -> (q, q_scale, k, k_scale, v, v_scale): codes int8 and scales float32 for the second.

    v's codes are pages of 64 keys, transposed, [B, Hkv, pages, 64 D]; v_scale is [B, Hkv, tiles, D], tiles of 256 keys.
    """
    return _ops().attention_int8_quantize(q, k, v)


def attention_int8_codes(q, q_scale, k, k_scale, v, v_scale, causal=False, scale=None, dtype=None):
    """The second half of attention_int8, of what attention_int8_quantize returns. dtype of out: float32 (default), float16, bfloat16."""
    return _ops().attention_int8_codes(q, q_scale, k, k_scale, v, v_scale, causal, scale, dtype)


def attention_f_paged(q, k_cache, v_cache, page_table, q_start, kv_len, k_scale=None, v_scale=None, causal=True, scale=None, window=0):
    """attention_f over the cache that kv_append writes.

    q: [T, Hq, D], the queries of all sequences one after the other, those of sequence b in rows q_start[b] .. q_start[b + 1].
    k_cache, v_cache: [pages, Hkv, 64, D] float or int8; with int8 k_scale, v_scale: [pages, Hkv, 64] float32.
    page_table: [B, pages of a sequence] int32. q_start: [B + 1] int32. kv_len: [B] int32, the queries' own keys included.
    -> out as q, lse float32 [T, Hq].
    """
    return _ops().attention_f_paged(q, k_cache, v_cache, page_table, q_start, kv_len, k_scale, v_scale, causal, scale, window)


def kv_append(k, v, positions, k_cache, v_cache, page_table, sequences=None, k_scale=None, v_scale=None):
    """Writes keys and values into a cache, quantising for an int8 one; changes k_cache, v_cache, k_scale and v_scale.

    k, v: [T, Hkv, D] float. positions: [T] int32, of each token in its sequence. sequences: [T] int32 (default: all 0).
    The cache as in attention_f_paged.
    """
    _ops().kv_append(k, v, positions, k_cache, v_cache, page_table, sequences, k_scale, v_scale)


def sample(logits, history=None, *, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, repetition_penalty=1.0, seed=0, step=0):
    """The next token from logits [V] float -> int32 [1]. Order: penalty over history [L] int32, temperature, top-k, top-p, min-p.

    temperature 0: the most likely. The same seed and step (index of the token in its text) give the same token.
    """
    return _ops().sample(logits, history, temperature, top_k, top_p, min_p, repetition_penalty, seed, step)


def adamw(params, grads, exp_avgs, exp_avg_sqs, step, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=1e-2, skip=None,
          grad_scale=None):
    """One AdamW step (arXiv 1711.05101) of many tensors in one launch; changes params, exp_avgs, exp_avg_sqs and step.

    params, grads: contiguous f32 or bf16, of equal shapes. exp_avgs, exp_avg_sqs: float32. step: int32 [1], steps done so far.
    skip: int32 [1], nonzero: nothing changes. grad_scale: float32 [1], gradients are divided by it.
    octavo.optim.AdamW is the optimizer made of it.
    """
    _ops().adamw(params, grads, exp_avgs, exp_avg_sqs, step, lr, beta1, beta2, eps, weight_decay, skip, grad_scale)
