"""Every op: arguments, and the same result by torch in fp32. Shared by the tests of values, opcheck and torch.compile."""
from dataclasses import dataclass
from typing import Callable

import torch
import torch.nn.functional as F

import octavo


@dataclass
class Case:
    arguments: Callable  # (device, dtype) -> tuple for torch.ops.octavo.<op>
    reference: Callable  # (*arguments) -> tensors, in fp32; codes of INT8 outputs dequantised
    gradient: bool = False   # its float inputs may require gradients
    error: float = 0         # > 0: what mean |got - reference| / mean |reference| may be, in place of the type's tolerance
    outputs: Callable = None  # (results) -> tensors as the reference has them


def on_cuda(name):
    """Whether this build has CUDA kernels for torch.ops.octavo.<name>; cuda_ops() lists them by folder, "rms_norm"."""
    return any(name.startswith(op) for op in octavo.build_info()["cuda_ops"])


def quantise(y):
    """octavo's quantiser, of float32 rows."""
    amax = y.abs().amax(-1, keepdim=True)
    zero = amax < 2.0 ** -120
    codes = torch.clamp(torch.round(y * (127 / torch.where(zero, 1, amax))), -127, 127)
    return torch.where(zero, 0, codes), torch.where(zero, 1, amax / 127)[..., 0]


def dequantised(y):
    codes, scale = quantise(y)
    return codes * scale[..., None]


def rand(device, dtype, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator).to(dtype).to(device)


def ints(device, high, *shape, dtype=torch.int32, low=0, seed=0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randint(low, high, shape, generator=generator, dtype=dtype).to(device)


def rms(x, w, eps=1e-5):
    x = x.float()
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * w.float()


def layer(x, w, b, eps=1e-5):
    return F.layer_norm(x.float(), w.shape, w.float(), None if b is None else b.float(), eps)


def gelu(x, bias=None, approximate="none"):
    return F.gelu(x.float() + (0 if bias is None else bias.float()), approximate=approximate)


def turned(x, positions, inv_freq, interleaved=False, attention_factor=1.0):
    x, n = x.float(), inv_freq.shape[0]
    angle = (positions[..., None].double() * inv_freq.double()).float()[..., None, :]
    cos, sin = angle.cos() * attention_factor, angle.sin() * attention_factor
    a, b = (x[..., 0:2 * n:2], x[..., 1:2 * n:2]) if interleaved else (x[..., :n], x[..., n:2 * n])
    first, second = a * cos - b * sin, b * cos + a * sin
    if interleaved:
        head = torch.stack((first, second), -1).flatten(-2)
    else:
        head = torch.cat((first, second), -1)
    return torch.cat((head, x[..., 2 * n:]), -1)


def attended(q, k, v, kv_len=None, causal=True, scale=None, window=0):
    """[B, Sq, Hq, D] -> out, lse."""
    (b, sq, hq, d), (sk, hkv) = q.shape, k.shape[1:3]
    k, v = (t.float().repeat_interleave(hq // hkv, 2) for t in (k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q.float(), k) * (d ** -0.5 if scale is None else scale)
    lengths = torch.full((b,), sk, device=q.device) if kv_len is None else kv_len
    key, query = torch.arange(sk, device=q.device), torch.arange(sq, device=q.device)[:, None]
    last = query + lengths[:, None, None] - sq if causal else (lengths - 1)[:, None, None].expand(b, sq, 1)
    visible = (key <= last) & (key < lengths[:, None, None])
    if window:
        visible &= key > query + lengths[:, None, None] - sq - window
    scores = scores.masked_fill(~visible[:, None], float("-inf"))
    lse = torch.logsumexp(scores, -1)
    out = torch.einsum("bhqk,bkhd->bqhd", torch.nan_to_num(torch.softmax(scores, -1)), v)
    return out, lse.transpose(1, 2)


def paged(device, dtype):
    """Two sequences of 70 and 3 keys whose pages lie in no order, and their queries."""
    k_cache, v_cache = rand(device, dtype, 4, 2, 64, 16), rand(device, dtype, 4, 2, 64, 16, seed=1)
    page_table = torch.tensor([[3, 1], [2, 0]], dtype=torch.int32, device=device)
    q_start = torch.tensor([0, 5, 6], dtype=torch.int32, device=device)
    kv_len = torch.tensor([70, 3], dtype=torch.int32, device=device)
    return rand(device, dtype, 6, 4, 16), k_cache, v_cache, page_table, q_start, kv_len


def attended_turned(q, k, v, causal=False):
    """attention_int8's layout, [B, H, S, D]."""
    out, lse = attended(*(t.transpose(1, 2) for t in (q, k, v)), causal=causal)
    return out.transpose(1, 2), lse.transpose(1, 2)


def int8_attention_values(results):
    """(q, q_scale, k, k_scale, v, v_scale) -> q, k, v; v's codes are pages of 64 keys, transposed, in the tensor cores' order."""
    q, q_scale, k, k_scale, v, v_scale = (t.float() for t in results)
    key = torch.arange(64, device=v.device)
    slot = key - key % 16 + key % 8 // 2 * 4 + key % 16 // 8 * 2 + key % 2
    keys, width = k.shape[2:]
    pages = v.unflatten(3, (width, 64))[..., slot].transpose(3, 4).flatten(2, 3)[:, :, :keys]
    tile = torch.arange(keys, device=v.device) // octavo._octavo.attention_int8_tile_keys
    return q * q_scale[..., None], k * k_scale[..., None], pages * v_scale[:, :, tile]


def attended_paged(q, k_cache, v_cache, page_table, q_start, kv_len):
    outs, lses = [], []
    for b in range(page_table.shape[0]):
        k, v = (c[page_table[b].long()].transpose(1, 2).flatten(0, 1)[None, :kv_len[b]] for c in (k_cache, v_cache))
        out, lse = attended(q[None, q_start[b]:q_start[b + 1]], k, v)
        outs.append(out[0]), lses.append(lse[0])
    return torch.cat(outs), torch.cat(lses)


def product(x, w, *bias):
    return x.float() @ w.float().T + (bias[0] if bias else 0)


def int8_product(device):
    """x [3, 5, 64], its scales, w [24, 64], its scales, a bias."""
    return (ints(device, 128, 3, 5, 64, dtype=torch.int8, low=-127), rand(device, torch.float32, 3, 5).abs() / 100,
            ints(device, 128, 24, 64, dtype=torch.int8, low=-127), rand(device, torch.float32, 24).abs() / 100,
            rand(device, torch.float32, 24, seed=1))


def fused_product(x, x_scale, w, w_scale, bias, activation="none", residual=None, dtype=None):
    v = (x.double() @ w.double().T * w_scale * x_scale[..., None] + bias).float()
    if activation == "silu_mul":
        return F.silu(v[..., 0::2]) * v[..., 1::2]
    v = v if activation == "none" else F.gelu(v, approximate="tanh" if activation == "gelu_tanh" else "none")
    return v if residual is None else v + residual.float()


def sixteen(dtype):
    return torch.float16 if dtype == torch.float32 else dtype


CASES = {
    "rms_norm": Case(lambda d, t: (rand(d, t, 3, 5, 64), rand(d, t, 64)), rms, gradient=True),
    "rms_norm_residual": Case(lambda d, t: (rand(d, t, 7, 64), rand(d, t, 7, 64, seed=1), rand(d, t, 64)),
                              lambda x, r, w: (rms(x + r, w), (x + r).float()), gradient=True),
    "rms_norm_int8": Case(lambda d, t: (rand(d, t, 7, 64), rand(d, t, 64)), lambda x, w: dequantised(rms(x, w))),
    "rms_norm_residual_int8": Case(lambda d, t: (rand(d, t, 7, 64), rand(d, t, 7, 64, seed=1), rand(d, t, 64)),
                                   lambda x, r, w: (dequantised(rms(x + r, w)), (x + r).float())),
    "layer_norm": Case(lambda d, t: (rand(d, t, 3, 5, 64), rand(d, t, 64), rand(d, t, 64, seed=1)), layer, gradient=True),
    "layer_norm_residual": Case(lambda d, t: (rand(d, t, 7, 64), rand(d, t, 7, 64, seed=1), rand(d, t, 64), rand(d, t, 64, seed=2)),
                                lambda x, r, w, b: (layer(x + r, w, b), (x + r).float()), gradient=True),
    "layer_norm_int8": Case(lambda d, t: (rand(d, t, 7, 64), rand(d, t, 64), rand(d, t, 64, seed=1)),
                            lambda x, w, b: dequantised(layer(x, w, b))),
    "layer_norm_residual_int8": Case(lambda d, t: (rand(d, t, 7, 64), rand(d, t, 7, 64, seed=1), rand(d, t, 64), None),
                                     lambda x, r, w, b: (dequantised(layer(x + r, w, None)), (x + r).float())),
    "silu_mul": Case(lambda d, t: (rand(d, t, 3, 5, 64), rand(d, t, 3, 5, 64, seed=1)),
                     lambda g, u: F.silu(g.float()) * u.float(), gradient=True),
    "silu_mul_int8": Case(lambda d, t: (rand(d, t, 7, 64), rand(d, t, 7, 64, seed=1)),
                          lambda g, u: dequantised(F.silu(g.float()) * u.float())),
    "bias_gelu": Case(lambda d, t: (rand(d, t, 3, 5, 64), rand(d, t, 64), "tanh"), gelu, gradient=True),
    "bias_gelu_int8": Case(lambda d, t: (rand(d, t, 7, 64), rand(d, t, 64)), lambda x, b: dequantised(gelu(x, b))),
    "quantize_rows": Case(lambda d, t: (rand(d, t, 3, 5, 64),), lambda x: dequantised(x.float())),
    "embedding": Case(lambda d, t: (ints(d, 11, 3, 5), rand(d, t, 11, 64)), lambda ids, table: F.embedding(ids, table).float(),
                      gradient=True),
    "rope": Case(lambda d, t: (rand(d, t, 3, 5, 2, 64), ints(d, 500, 3, 5), 1e4 ** -torch.linspace(0, 1, 32).to(d)), turned,
                 gradient=True),
    "gemm_f": Case(lambda d, t: (rand(d, t, 3, 5, 64), rand(d, t, 24, 64), rand(d, torch.float32, 24)), product,
                   gradient=True),
    "gemm_w8a16": Case(lambda d, t: (rand(d, t, 3, 5, 64), ints(d, 128, 24, 64, dtype=torch.int8, low=-127),
                                     rand(d, torch.float32, 24).abs()),
                       lambda x, w, s: x.float() @ (w.float() * s[:, None]).T),
    "gemm_w8a8": Case(lambda d, t: (ints(d, 128, 3, 5, 64, dtype=torch.int8, low=-127), rand(d, torch.float32, 3, 5).abs() / 100,
                                    ints(d, 128, 24, 64, dtype=torch.int8, low=-127), rand(d, torch.float32, 24).abs() / 100,
                                    rand(d, torch.float32, 24, seed=1), None, t),
                      lambda x, xs, w, ws, b, _, t: (x.double() @ w.double().T * ws * xs[..., None] + b).float()),
    "gemm_w8a8_fused": Case(lambda d, t: (*int8_product(d), "silu_mul", None, t), fused_product),
    "gemm_w8a8_amax": Case(lambda d, t: (*int8_product(d), "none", rand(d, sixteen(t), 3, 5, 24, seed=2), None),
                           lambda *a: (lambda y: (y, y.abs().amax(-1)))(fused_product(*a)), error=0.005),
    "gemm_w8a8_int8": Case(lambda d, t: (*int8_product(d)[:4], torch.full((1,), 0.05, device=d), int8_product(d)[4]),
                           lambda x, xs, w, ws, step, b: (torch.clamp(torch.round(fused_product(x, xs, w, ws, b) / step), -127, 127) * step,),
                           error=0.01, outputs=lambda codes: (codes.float() * 0.05,)),
    "gemm_w8a8_s32": Case(lambda d, t: (ints(d, 128, 5, 64, dtype=torch.int8, low=-128), ints(d, 128, 24, 64, dtype=torch.int8, low=-128)),
                          lambda x, w: (x.double() @ w.double().T).float()),
    "attention_f": Case(lambda d, t: (rand(d, t, 2, 5, 4, 16), rand(d, t, 2, 9, 2, 16), rand(d, t, 2, 9, 2, 16, seed=1)), attended),
    "attention_int8": Case(lambda d, t: (rand(d, t, 2, 4, 70, 32), rand(d, t, 2, 2, 300, 32), rand(d, t, 2, 2, 300, 32, seed=1), True),
                           attended_turned, error=0.02),
    "attention_int8_quantize": Case(lambda d, t: (rand(d, t, 2, 4, 7, 32), rand(d, t, 2, 2, 300, 32), rand(d, t, 2, 2, 300, 32, seed=1)),
                                    lambda q, k, v: (q.float(), k.float(), v.float()), error=0.01, outputs=int8_attention_values),
    "attention_int8_codes": Case(
        lambda d, t: (*octavo.attention_int8_quantize(rand(d, torch.float16, 1, 4, 70, 32), rand(d, torch.float16, 1, 2, 300, 32),
                                                      rand(d, torch.float16, 1, 2, 300, 32, seed=1)), False, None, t),
        lambda *codes_and_options: attended_turned(*int8_attention_values(codes_and_options[:6])), error=0.02),
    "attention_f_paged": Case(paged, attended_paged),
    "sample": Case(lambda d, t: (rand(d, t, 100), None, 0.0), lambda x, h, temperature: x.argmax()[None].float()),
}

# Ops that change their arguments: the arguments, and which of them change.
MUTATING = {
    "kv_append": (lambda d: (rand(d, torch.float32, 3, 2, 16), rand(d, torch.float32, 3, 2, 16, seed=1),
                             torch.tensor([0, 65, 7], dtype=torch.int32, device=d), torch.zeros(4, 2, 64, 16, device=d),
                             torch.zeros(4, 2, 64, 16, device=d), torch.tensor([[3, 1]], dtype=torch.int32, device=d)), [3, 4]),
    "adamw": (lambda d: ([rand(d, torch.float32, 3, 5), rand(d, torch.float32, 7)],
                         [rand(d, torch.float32, 3, 5, seed=1), rand(d, torch.float32, 7, seed=1)],
                         [torch.zeros(3, 5, device=d), torch.zeros(7, device=d)], [torch.zeros(3, 5, device=d), torch.zeros(7, device=d)],
                         torch.zeros(1, dtype=torch.int32, device=d)), [0, 2, 3, 4]),
}


def float_outputs(results):
    """(codes, scale, ...) -> (codes * scale, ...), everything in fp32."""
    results = results if isinstance(results, tuple) else (results,)
    if results[0].dtype == torch.int8:
        results = (results[0].float() * results[1][..., None], *results[2:])
    return [r.float() for r in results]
