"""octavo's attention in place of torch's: `sdpa` with the signature of F.scaled_dot_product_attention, a context manager that puts
it there, and its registration with Hugging Face transformers. Needs torch.
"""
import contextlib
import warnings
from collections import Counter

import torch
import torch.nn.functional as F

from . import _octavo, ops, torch_ops  # noqa: F401
from .errors import UsageError

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)
_PRECISIONS = ("fp16", "int8")
_CUDA_OPS = frozenset(_octavo.cuda_ops())


class FallbackWarning(UserWarning):
    """An attention call that torch computed in place of octavo, with the reason."""


@torch.compiler.assume_constant_result
def _has_int8_tensor_cores(device):
    return torch.cuda.get_device_capability(device)[0] >= 8


def _reason_against(query, key, value, attn_mask, dropout_p, is_causal, enable_gqa, precision):
    """Why octavo does not serve this call; None when it does."""
    if attn_mask is not None:
        what = attn_mask if isinstance(attn_mask, str) else "attn_mask"
        return f"{what} is given; is_causal is the mask that is served"
    if dropout_p > 0:
        return f"dropout_p is {dropout_p}, only 0 is served"
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4:
        return f"query, key and value have {query.dim()}, {key.dim()} and {value.dim()} dimensions, expected 4: [B, H, S, D]"
    if query.dtype not in _FLOATS or key.dtype != query.dtype or value.dtype != query.dtype:
        return f"query, key and value are {query.dtype}, {key.dtype} and {value.dtype}, expected one of float32, float16, bfloat16"
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        return "a gradient is asked for"
    if key.shape != value.shape or query.shape[0] != key.shape[0] or query.shape[3] != key.shape[3]:
        return f"query is {list(query.shape)}, key {list(key.shape)}, value {list(value.shape)}; batch and width must agree, key and value be alike"
    heads, kv_heads = query.shape[1], key.shape[1]
    if heads != kv_heads and not (enable_gqa and kv_heads > 0 and heads % kv_heads == 0):
        return f"query has {heads} heads, key {kv_heads}; enable_gqa=True and a divisor are needed"
    if is_causal and query.shape[2] > key.shape[2]:
        return f"is_causal with {query.shape[2]} queries and {key.shape[2]} keys: more queries than keys"
    if any(t.numel() > 0 and t.stride(3) != 1 for t in (query, key, value)):
        return "the width of query, key or value has another stride than 1"
    return _reason_against_int8(query) if precision == "int8" else _reason_against_device("attention_f", query)


def _reason_against_device(op, query):
    if query.device.type not in ("cpu", "cuda"):
        return f"query is on {query.device.type}"
    return f"this build has no CUDA kernel of {op}" if query.is_cuda and op not in _CUDA_OPS else None


def _reason_against_int8(query):
    width, largest = query.shape[3], 128 if query.is_cuda else 256
    if width % 16 != 0 or not 16 <= width <= largest:
        return f"heads are {width} wide, int8 serves multiples of 16 up to {largest}"
    if query.is_cuda and not _has_int8_tensor_cores(query.device):
        return "int8 attention runs on GPUs from Ampere on (compute capability 8.0)"
    return _reason_against_device("attention_int8", query)


def _attend_f(query, key, value, is_causal, scale):
    batch, heads, queries, _ = query.shape
    turn = lambda t: t.transpose(1, 2)  # noqa: E731
    if batch == 1 or query.stride(0) == queries * query.stride(2):  # the tokens of all sequences lie at one distance
        return turn(ops.attention_f(turn(query), turn(key), turn(value), None, is_causal, scale)[0])
    if heads == key.shape[1]:  # every head a sequence of its own
        alone = lambda t: t.flatten(0, 1).unsqueeze(2)  # noqa: E731
        return ops.attention_f(alone(query), alone(key), alone(value), None, is_causal, scale)[0].squeeze(2).unflatten(0, (batch, heads))
    return turn(ops.attention_f(turn(query).contiguous(), turn(key), turn(value), None, is_causal, scale)[0])


def _attend(query, key, value, is_causal, scale, precision):
    if is_causal and query.shape[2] < key.shape[2]:  # torch's mask begins at the top left: later keys are never seen
        key, value = key[:, :, :query.shape[2]], value[:, :, :query.shape[2]]
    if precision == "int8":
        return ops.attention_int8(query, key, value, is_causal, scale)[0]
    return _attend_f(query, key, value, is_causal, scale)


def _expect_precision(precision):
    if precision not in _PRECISIONS:
        raise UsageError(f"sdpa: precision is {precision!r}, expected 'fp16' (the inputs' own type) or 'int8'")


def sdpa(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False, *, precision="fp16"):
    """F.scaled_dot_product_attention by octavo's kernels. precision "fp16": in the inputs' own type; "int8": quantised on the way.

    query: [B, H, Sq, D], key and value: [B, Hkv, Sk, D], f32, f16 or bf16. is_causal: as torch has it, aligned at the top left.
    -> [B, H, Sq, D]. What is not served (a mask, dropout, a gradient) raises UsageError with the reason; patched_sdpa falls back.
    """
    _expect_precision(precision)
    reason = _reason_against(query, key, value, attn_mask, dropout_p, is_causal, enable_gqa, precision)
    if reason is not None:
        raise UsageError(f"sdpa: {reason}")
    return _attend(query, key, value, is_causal, scale, precision)


class Calls:
    """Who computed how many attention calls: `octavo`, and `torch` by reason."""

    def __init__(self):
        self.octavo, self.torch = 0, Counter()

    def _fell_back(self, reason):
        if reason not in self.torch:
            warnings.warn(f"octavo.sdpa: computed by torch: {reason}", FallbackWarning, stacklevel=4)
        self.torch[reason] += 1

    def __repr__(self):
        reasons = "".join(f"; {n} by torch: {reason}" for reason, n in self.torch.items())
        return f"{self.octavo} calls by octavo{reasons}"


def _serve(calls, otherwise, query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, precision):
    """octavo's result, or what otherwise() gives. NOTE: inside torch.compile nothing is counted."""
    reason = _reason_against(query, key, value, attn_mask, dropout_p, is_causal, enable_gqa, precision)
    if not torch.compiler.is_compiling():
        if reason is None:
            calls.octavo += 1
        else:
            calls._fell_back(reason)
    return _attend(query, key, value, is_causal, scale, precision) if reason is None else otherwise()


@contextlib.contextmanager
def patched_sdpa(precision="fp16"):
    """Within it, F.scaled_dot_product_attention is octavo.sdpa where that serves the call, and torch's own elsewhere.

        with octavo.patched_sdpa("int8") as calls:
            model(x)
        print(calls)      # 24 calls by octavo; 2 by torch: attn_mask is given; ...

    Each reason is warned of once (FallbackWarning). For the whole process, not one thread; may be nested.
    """
    _expect_precision(precision)
    torch_sdpa, calls = F.scaled_dot_product_attention, Calls()

    def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        return _serve(calls, lambda: torch_sdpa(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa),
                      query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, precision)

    F.scaled_dot_product_attention = scaled_dot_product_attention
    try:
        yield calls
    finally:
        F.scaled_dot_product_attention = torch_sdpa


def register_with_transformers(name="octavo", precision="fp16"):
    """Registers attention and mask with Hugging Face transformers (4.56 or newer): model.set_attn_implementation(name) -> Calls.

    The mask is that of their "sdpa": absent where causal or no masking says it all, and calls with one (padding, sliding windows) are
    theirs, counted with the reason.
    """
    _expect_precision(precision)
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    calls = Calls()

    def attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, is_causal=None, **options):
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        causal = bool(causal) and query.shape[2] > 1 and attention_mask is None

        def theirs():
            return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling,
                                          is_causal=is_causal, **options)[0].transpose(1, 2)

        unknown = [option for option in ("position_bias", "softcap", "cache", "s_aux") if options.get(option) is not None]
        mask = unknown[0] if attention_mask is None and unknown else attention_mask
        out = _serve(calls, theirs, query, key, value, mask, dropout, causal, scaling, True, precision)
        return out.transpose(1, 2).contiguous(), None

    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    return calls
