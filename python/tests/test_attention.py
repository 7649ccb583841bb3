"""octavo.sdpa beside F.scaled_dot_product_attention; the patch and its fallbacks; Hugging Face transformers."""
import warnings

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import torch.nn.functional as F  # noqa: E402

import octavo  # noqa: E402
from octavo.attention import FallbackWarning  # noqa: E402
from op_cases import on_cuda, rand  # noqa: E402

TOLERANCE = {torch.float32: 1e-5, torch.float16: 3e-3, torch.bfloat16: 2e-2}


def inputs(device, dtype, batch, heads, kv_heads, queries, keys, width, turned=False):
    """[B, H, S, D]; turned: in memory [B, S, H, D]."""
    made = []
    for seed, (h, s) in enumerate(((heads, queries), (kv_heads, keys), (kv_heads, keys))):
        shape = (batch, s, h, width) if turned else (batch, h, s, width)
        t = rand(device, dtype, *shape, seed=seed)
        made.append(t.transpose(1, 2) if turned else t)
    return made


def expect_near(got, wanted, dtype, precision):
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    if precision == "int8":
        assert (got - wanted).float().abs().mean() <= 0.025 * wanted.float().abs().mean()
    else:
        torch.testing.assert_close(got, wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def needs(precision, device):
    if device == "cuda" and not on_cuda("attention_int8" if precision == "int8" else "attention_f"):
        pytest.skip("this build has no CUDA kernel of it")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("turned", [False, True], ids=["BHSD", "BSHD"])
def test_values(precision, dtype, turned, device):
    needs(precision, device)
    for shape in ((2, 4, 4, 9, 9, 64), (3, 4, 2, 70, 70, 32), (1, 4, 1, 5, 300, 16), (2, 2, 2, 1, 33, 80), (2, 4, 4, 3, 65, 128)):
        q, k, v = inputs(device, dtype, *shape, turned=turned)
        gqa = shape[1] != shape[2]
        for causal in (False, True):
            wanted = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=gqa)
            expect_near(octavo.sdpa(q, k, v, is_causal=causal, enable_gqa=gqa, precision=precision), wanted, dtype, precision)
    q, k, v = inputs(device, dtype, 1, 2, 2, 8, 8, 32)
    expect_near(octavo.sdpa(q, k, v, scale=0.3, precision=precision), F.scaled_dot_product_attention(q, k, v, scale=0.3), dtype, precision)


@pytest.mark.parametrize("change, reason", [
    (dict(attn_mask=torch.ones(8, 8, dtype=torch.bool)), "attn_mask is given"),
    (dict(dropout_p=0.1), "dropout_p is 0.1"),
    (dict(query=torch.ones(1, 2, 9, 32), is_causal=True), "more queries than keys"),
    (dict(query=torch.ones(1, 2, 8, 32, dtype=torch.float64)), "expected one of float32, float16, bfloat16"),
    (dict(query=torch.ones(2, 8, 32)), "expected 4"),
    (dict(query=torch.ones(1, 2, 8, 32, requires_grad=True)), "a gradient is asked for"),
    (dict(query=torch.ones(1, 4, 8, 32)), "enable_gqa=True and a divisor are needed"),
    (dict(query=torch.ones(1, 2, 8, 16)), "batch and width must agree"),
    (dict(query=torch.ones(1, 2, 32, 8).transpose(2, 3)), "another stride than 1")])
def test_what_is_not_served_has_a_reason(change, reason):
    arguments = dict(query=torch.ones(1, 2, 8, 32), key=torch.ones(1, 2, 8, 32), value=torch.ones(1, 2, 8, 32)) | change
    with pytest.raises(octavo.UsageError, match=f"^sdpa: .*{reason}"):
        octavo.sdpa(**arguments)


def test_int8_has_reasons_of_its_own():
    q, k, v = inputs("cpu", torch.float32, 1, 2, 2, 8, 8, 24)
    with pytest.raises(octavo.UsageError, match="heads are 24 wide, int8 serves multiples of 16"):
        octavo.sdpa(q, k, v, precision="int8")
    with pytest.raises(octavo.UsageError, match="precision is 'fp8', expected 'fp16'"):
        octavo.sdpa(q, k, v, precision="fp8")


def test_patch_counts_and_falls_back_visibly(device):
    needs("fp16", device)
    q, k, v = inputs(device, torch.float32, 2, 4, 4, 9, 9, 64)
    mask = torch.ones(9, 9, dtype=torch.bool, device=device).tril()
    torch_sdpa = F.scaled_dot_product_attention
    plain, masked = torch_sdpa(q, k, v), torch_sdpa(q, k, v, mask)
    with pytest.warns(FallbackWarning, match="attn_mask is given") as seen, octavo.patched_sdpa() as calls:
        assert F.scaled_dot_product_attention is not torch_sdpa
        torch.testing.assert_close(F.scaled_dot_product_attention(q, k, v), plain, rtol=1e-4, atol=1e-4)
        for _ in range(3):
            assert torch.equal(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), masked)
    assert F.scaled_dot_product_attention is torch_sdpa
    assert len([w for w in seen if w.category is FallbackWarning]) == 1
    assert calls.octavo == 1 and list(calls.torch.values()) == [3] and "3 by torch: attn_mask is given" in repr(calls)
    with pytest.raises(ZeroDivisionError), octavo.patched_sdpa("int8"):
        1 / 0
    assert F.scaled_dot_product_attention is torch_sdpa


def test_patch_under_modules_and_compile(device):
    """torch's own encoder layer takes it where it calls F.scaled_dot_product_attention; a compiled function holds the op itself."""
    needs("fp16", device)
    q, k, v = inputs(device, torch.float32, 2, 4, 4, 9, 9, 64)
    wanted = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch._dynamo.reset()
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    with octavo.patched_sdpa():
        compiled = torch.compile(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), fullgraph=True, backend=backend)
        torch.testing.assert_close(compiled(q, k, v), wanted, rtol=1e-4, atol=1e-4)
    assert "octavo.attention_f" in graphs[0].code
    attention = torch.nn.MultiheadAttention(64, 4, batch_first=True, device=device)
    x = torch.randn(2, 9, 64, device=device, requires_grad=True)
    with warnings.catch_warnings(), octavo.patched_sdpa() as calls:
        warnings.simplefilter("ignore", FallbackWarning)
        attention(x, x, x, need_weights=False)[0].sum().backward()  # a gradient: torch's, said so
    assert calls.octavo == 0 and list(calls.torch) == ["a gradient is asked for"] and x.grad is not None


def tiny_llama(device):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                                      num_key_value_heads=2, max_position_embeddings=128)
    return transformers.LlamaForCausalLM(config).to(device).eval()


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_transformers(precision, device):
    needs(precision, device)
    model = tiny_llama(device)
    calls = octavo.register_with_transformers("octavo_test", precision)
    ids = torch.arange(1, 21, device=device)[None].repeat(2, 1)
    padding = torch.ones_like(ids)
    padding[1, :5] = 0
    with torch.no_grad():
        model.set_attn_implementation("sdpa")
        wanted, wanted_padded = model(ids).logits, model(ids, attention_mask=padding).logits
        text = model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0)
        model.set_attn_implementation("octavo_test")
        got = model(ids).logits
        assert calls.octavo == 2 and not calls.torch
        assert (got - wanted).norm() <= (1e-4 if precision == "fp16" else 0.02) * wanted.norm()
        if precision == "fp16":
            assert torch.equal(model.generate(ids, max_new_tokens=5, do_sample=False, pad_token_id=0), text)
            assert not calls.torch  # prompt and tokens alike
        with pytest.warns(FallbackWarning, match="attn_mask is given"):
            padded = model(ids, attention_mask=padding).logits
        assert sum(calls.torch.values()) == 2
        torch.testing.assert_close(padded[1, 5:], wanted_padded[1, 5:], rtol=1e-4, atol=1e-4)
