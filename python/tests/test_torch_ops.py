"""torch.ops.octavo.*: values against torch in fp32, opcheck, torch.compile, gradients, strides, errors, streams, graphs."""
import itertools

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import octavo  # noqa: E402
from octavo import torch_ops  # noqa: E402
from op_cases import CASES, MUTATING, float_outputs, int8_product, on_cuda, quantise, rand, rms  # noqa: E402

OPS = torch.ops.octavo
DTYPES = [torch.float32, torch.float16, torch.bfloat16]
TOLERANCE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def needs_kernel(name, device):
    if device == "cuda" and not on_cuda(name):
        pytest.skip("this op has no CUDA kernel yet")


def expect_close(got, wanted, dtype, codes=False):
    got, wanted = float_outputs(got), wanted if isinstance(wanted, tuple) else (wanted,)
    assert len(got) == len(wanted)
    for number, (g, w) in enumerate(zip(got, wanted)):
        largest = w[w.isfinite()].abs().max().item()
        step = largest / 127 * 1.01 if codes and number == 0 else 0  # a tie may fall to either side
        torch.testing.assert_close(g, w.float(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * max(1, largest) + step)


def test_every_op_has_a_case():
    assert set(torch_ops.SCHEMAS) == set(CASES) | set(MUTATING)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_values(name, dtype, device):
    case = CASES[name]
    needs_kernel(name, device)
    arguments = case.arguments(device, dtype)
    results, wanted = getattr(OPS, name)(*arguments), case.reference(*arguments)
    if not case.error:
        return expect_close(results, wanted, dtype, codes=name.endswith("int8") or name == "quantize_rows")
    for got, reference in zip(case.outputs(results) if case.outputs else results, wanted):
        assert got.shape == reference.shape
        assert (got.float() - reference).abs().mean() <= case.error * reference.abs().mean()


@pytest.mark.parametrize("name", CASES)
def test_the_direct_call_is_the_same(name, device):
    case = CASES[name]
    needs_kernel(name, device)
    arguments = case.arguments(device, torch.float32)
    direct, dispatched = getattr(octavo.eager, name)(*arguments), getattr(OPS, name)(*arguments)
    for a, b in zip(*([r] if isinstance(r, torch.Tensor) else r for r in (direct, dispatched))):
        assert torch.equal(a, b)


def test_quantise_is_the_one_quantiser(device):
    x = rand(device, torch.float32, 50, 300)
    x[3] = 0
    codes, scale = (t.cpu() for t in octavo.quantize_rows(x))
    wanted_codes, wanted_scale = quantise(x.cpu())  # NOTE: on CUDA torch divides by multiplying with 1 / 127
    assert torch.equal(codes.float(), wanted_codes) and torch.equal(scale, wanted_scale)
    x[4, 7] = float("nan")
    codes, scale = (t.cpu() for t in octavo.quantize_rows(x))
    assert scale[4].isnan() and not codes[4].any() and torch.equal(codes[5].float(), wanted_codes[5])


@pytest.mark.parametrize("name", CASES)
def test_opcheck(name, device):
    case = CASES[name]
    needs_kernel(name, device)
    arguments = case.arguments(device, torch.float32)
    if case.gradient:
        arguments = tuple(a.requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() and i != 2 or
                          (isinstance(a, torch.Tensor) and a.is_floating_point() and name != "rope") else a for i, a in enumerate(arguments))
    torch.library.opcheck(getattr(OPS, name).default, arguments)


@pytest.mark.parametrize("name", MUTATING)
def test_opcheck_mutating(name, device):
    make, _ = MUTATING[name]
    needs_kernel(name, device)
    torch.library.opcheck(getattr(OPS, name).default, make(device))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.gradient])
def test_gradients(name, device):
    case = CASES[name]
    needs_kernel(name, device)
    arguments = case.arguments(device, torch.float32)
    learns = [i for i, a in enumerate(arguments) if isinstance(a, torch.Tensor) and a.is_floating_point() and not (name == "rope" and i == 2)]

    def gradients(function):
        leaves = [a.clone().requires_grad_() if i in learns else a for i, a in enumerate(arguments)]
        results = function(*leaves)
        results = results if isinstance(results, tuple) else (results,)
        loss = sum((r.float() * rand(device, torch.float32, *r.shape, seed=9)).sum() for r in results)
        return torch.autograd.grad(loss, [leaves[i] for i in learns])

    for ours, theirs in zip(gradients(getattr(OPS, name)), gradients(case.reference)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_ops_without_a_gradient_say_so():
    x = rand("cpu", torch.float32, 3, 8).requires_grad_()
    codes, scale = octavo.rms_norm(x, torch.ones(8), int8=True)
    assert not codes.requires_grad
    with pytest.raises(RuntimeError, match="octavo.rms_norm_int8 has no gradient"):
        scale.sum().backward()
    with pytest.raises(RuntimeError, match="octavo.gemm_w8a16 has no gradient"):
        octavo.gemm_w8a16(x, torch.ones(4, 8, dtype=torch.int8), torch.ones(4)).sum().backward()


def compiled(function, *arguments):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True)(*arguments)


def test_compile_a_block_of_float_ops(device):
    """A transformer block by octavo's functions, in one graph."""
    for name in ("gemm_f", "attention_f"):
        needs_kernel(name, device)
    w = {name: rand(device, torch.float32, *shape) * 0.1 for name, shape in
         {"q": (64, 64), "k": (32, 64), "v": (32, 64), "o": (64, 64), "gate": (96, 64), "up": (96, 64), "down": (64, 96)}.items()}
    norm, bias, table = rand(device, torch.float32, 64), rand(device, torch.float32, 64), rand(device, torch.float32, 50, 64)
    inv_freq = 1e4 ** -torch.linspace(0, 1, 8, device=device)
    positions = torch.arange(6, dtype=torch.int32, device=device)[None].expand(2, 6).contiguous()
    ids = torch.randint(0, 50, (2, 6), dtype=torch.int32, device=device)

    def block(ids):
        x = octavo.embedding(ids, table)
        y = octavo.rms_norm(x, norm)
        q, k, v = (octavo.gemm_f(y, w[n]).view(2, 6, -1, 16) for n in "qkv")
        q, k = octavo.rope(q, positions, inv_freq), octavo.rope(k, positions, inv_freq)
        out, _ = octavo.attention_f(q, k, v)
        y, x = octavo.layer_norm(octavo.gemm_f(out.reshape(2, 6, 64), w["o"]), norm, bias, residual=x)
        y = octavo.gemm_f(octavo.silu_mul(octavo.gemm_f(y, w["gate"]), octavo.gemm_f(y, w["up"])), w["down"])
        return octavo.bias_gelu(y, bias) + x

    torch.testing.assert_close(compiled(block, ids), block(ids), rtol=1e-5, atol=1e-5)


def test_compile_a_block_of_int8_ops(device):
    """Norm to INT8, product, activation to INT8, product: the W8A8 path of a feed-forward block, in one graph."""
    x, norm = rand(device, torch.float32, 6, 64), rand(device, torch.float32, 64)
    gate, gate_scale = octavo.quantize_rows(rand(device, torch.float32, 96, 64))
    up, up_scale = octavo.quantize_rows(rand(device, torch.float32, 96, 64, seed=1))
    down, down_scale = octavo.quantize_rows(rand(device, torch.float32, 64, 96, seed=2))

    def block(x):
        codes, scale, u = octavo.rms_norm(x, norm, residual=x, int8=True)
        codes2, scale2 = octavo.silu_mul(octavo.gemm_w8a8(codes, scale, gate, gate_scale), octavo.gemm_w8a8(codes, scale, up, up_scale), int8=True)
        y = octavo.gemm_w8a8(codes2, scale2, down, down_scale)
        codes3, scale3 = octavo.layer_norm(y + u, norm, int8=True)
        codes4, scale4 = octavo.bias_gelu(codes3 * scale3[:, None], int8=True)
        codes5, scale5, v = octavo.layer_norm(y, norm, residual=u, int8=True)
        codes6, scale6 = octavo.rms_norm(v, norm, int8=True)
        return octavo.gemm_w8a8_s32(codes4, down[:, :64].contiguous()), octavo.quantize_rows(y)[0], scale4, codes5, scale5, codes6, \
            octavo.gemm_w8a16(u, gate, gate_scale) * scale6[:, None]

    for a, b in zip(compiled(block, x), block(x)):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_compile_int8_attention(device):
    needs_kernel("attention_int8", device)
    q, k, v = (rand(device, torch.float16, 2, heads, 70, 32, seed=heads) for heads in (4, 2, 2))

    def block(q, k, v):
        whole, lse = octavo.attention_int8(q * 1.5, k, v, causal=True)
        parts, _ = octavo.attention_int8_codes(*octavo.attention_int8_quantize(q, k, v), dtype=torch.float16)
        return whole + parts, lse

    for a, b in zip(compiled(block, q, k, v), block(q, k, v)):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_compile_a_token(device):
    """Keys into the cache, attention over it, a product with INT8 weights, and the next token, in one graph."""
    for name in ("kv_append", "attention_f", "sample"):
        needs_kernel(name, device)
    k, v, positions, k_cache, v_cache, page_table = MUTATING["kv_append"][0](device)
    q, q_start, kv_len = rand(device, torch.float32, 1, 4, 16), torch.tensor([0, 1], dtype=torch.int32, device=device), torch.tensor([66], dtype=torch.int32, device=device)
    w, w_scale = octavo.quantize_rows(rand(device, torch.float32, 30, 64))

    def decode(k_cache, v_cache):
        octavo.kv_append(k, v, positions, k_cache, v_cache, page_table)
        out, _ = octavo.attention_f_paged(q, k_cache, v_cache, page_table, q_start, kv_len)
        logits = octavo.gemm_w8a16(out.view(1, 64), w, w_scale)
        return octavo.sample(logits[0], temperature=0.7, seed=3, step=1), out

    ours, theirs = (k_cache.clone(), v_cache.clone()), (k_cache.clone(), v_cache.clone())
    a, b = compiled(decode, *ours), decode(*theirs)
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1]) and ours[0].any()


def test_compile_adamw(device):
    make = MUTATING["adamw"][0]
    ours, theirs = make(device), make(device)
    compiled(lambda *lists: octavo.adamw(*lists, lr=0.1), *ours)
    octavo.adamw(*theirs, lr=0.1)
    assert torch.equal(ours[0][0], theirs[0][0]) and ours[4].item() == theirs[4].item() == 1


def test_compile_with_gradients(device):
    x, w = rand(device, torch.float32, 6, 64).requires_grad_(), rand(device, torch.float32, 64).requires_grad_()

    def block(x, w):
        y, u = octavo.rms_norm(x, w, residual=x)
        return (octavo.silu_mul(y, u) + octavo.bias_gelu(y, w)).square().sum()

    wanted = torch.autograd.grad(block(x, w), (x, w))
    for a, b in zip(torch.autograd.grad(compiled(block, x, w), (x, w)), wanted):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_vmap_and_modes_go_through_the_dispatcher(device):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Names(TorchDispatchMode):
        seen = []

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.seen.append(str(function))
            return function(*args, **(kwargs or {}))

    with Names() as names:
        octavo.silu_mul(torch.ones(2, 8, device=device), torch.ones(2, 8, device=device))
    assert "octavo.silu_mul.default" in names.seen
    with torch._subclasses.FakeTensorMode():
        assert octavo.quantize_rows(torch.empty(3, 5, 8, device=device))[1].shape == (3, 5)


# ---- layouts --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_at_any_distance_and_address_are_read_in_place(dtype, device):
    """Right values, exact codes, and the same bits whatever lies around the rows. NOTE: float rows at another address may take a
    kernel that adds in another order, so the bits of a copy may differ."""
    values, w = rand(device, dtype, 9, 100), rand(device, dtype, 64)
    views = [lambda t: t[:, :64], lambda t: t[:, 3:67], lambda t: t[::2, 1:65], lambda t: t[None, :, 30:94],
             lambda t: t[:, :64].unflatten(0, (3, 3))]
    for view in views:
        results = []
        for around in (0.0, float("nan")):
            wide = torch.full_like(values, around)
            view(wide).copy_(view(values))
            results.append((octavo.rms_norm(view(wide), w), *octavo.quantize_rows(view(wide))))
        assert all(torch.equal(a, b) for a, b in zip(*results))
        y, codes, scale = results[0]
        expect_close(y, rms(view(values), w), dtype)
        assert all(torch.equal(a, b) for a, b in zip((codes, scale), octavo.quantize_rows(view(values).contiguous())))
    wide = values
    for gate, up in ((wide[:, 0::2], wide[:, 1::2]), (wide[:, :50], wide[:, 50:])):
        torch.testing.assert_close(octavo.silu_mul(gate, up), octavo.silu_mul(gate.contiguous(), up.contiguous()))


def test_other_layouts_are_refused_by_name(device):
    x, w = rand(device, torch.float32, 6, 64), rand(device, torch.float32, 64)
    with pytest.raises(octavo.UsageError, match=r"rms_norm: x .*has stride 6 in its last dimension, expected 1"):
        octavo.rms_norm(x.t().contiguous().t(), w)
    with pytest.raises(octavo.UsageError, match=r"rms_norm: weight .*has stride 2"):
        octavo.rms_norm(x, rand(device, torch.float32, 128)[::2])
    with pytest.raises(octavo.UsageError, match=r"rms_norm: x has strides .* call \.contiguous\(\)"):
        octavo.rms_norm(rand(device, torch.float32, 4, 5, 64).transpose(0, 1), w)
    flat = torch.zeros(4 * 65, dtype=torch.uint8, device=device)
    misaligned = flat.untyped_storage()
    with pytest.raises((octavo.UsageError, RuntimeError)):
        octavo.rms_norm(torch.empty(0, dtype=torch.float32, device=device).set_(misaligned, 1, (1, 64)).view(torch.uint8)[:, 1:257].view(torch.float32), w)


@pytest.mark.parametrize("rows", [0, 1])
def test_empty_and_single(rows, device):
    x = rand(device, torch.float32, rows, 64)
    assert octavo.rms_norm(x, torch.ones(64, device=device)).shape == (rows, 64)
    assert octavo.rms_norm(torch.ones(64, device=device), torch.ones(64, device=device)).shape == (64,)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_may_follow_an_int8_product(dtype, device):
    """In one call or two: the same function of the same scaled sums."""
    x, x_scale, w, w_scale, bias = int8_product(device)
    v = octavo.gemm_w8a8(x, x_scale, w, w_scale, bias)
    residual, half = rand(device, dtype, 3, 5, 24), dtype if dtype != torch.float32 else torch.float16
    close = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}

    def fused(**options):
        return octavo.gemm_w8a8(x, x_scale, w, w_scale, bias, **options)

    for activation, after in (("gelu", octavo.bias_gelu), ("gelu_tanh", lambda v: octavo.bias_gelu(v, approximate="tanh")),
                              ("silu_mul", lambda v: octavo.silu_mul(v[..., 0::2], v[..., 1::2]))):
        torch.testing.assert_close(fused(activation=activation, dtype=dtype), after(v).to(dtype), **close)
    assert torch.equal(fused(residual=residual), (v + residual.float()).to(dtype))
    y, amax = fused(activation="silu_mul", dtype=half, amax=True)
    assert torch.equal(y, fused(activation="silu_mul", dtype=half)) and torch.equal(amax, y.abs().amax(-1).float())
    step = torch.full((1,), 0.037, device=device)
    assert (fused(y_scale=step).float() - (v / step).round().clamp(-127, 127)).abs().max() <= 1  # a tie may fall to either side


# ---- errors ---------------------------------------------------------------------------------------------------------------

def test_wrong_dtype_shape_and_kind(device):
    x, w = rand(device, torch.float32, 6, 64), rand(device, torch.float32, 64)
    for call, message in [
            (lambda: octavo.rms_norm(x.double(), w), "rms_norm: x is f64"),
            (lambda: OPS.rms_norm(x.double(), w), "rms_norm: x is f64"),
            (lambda: octavo.rms_norm(x, w[:60]), "rms_norm: weight is f32.60., expected shape .64."),
            (lambda: octavo.rms_norm(x, w, residual=x.half()), "rms_norm: residual is f16"),
            (lambda: octavo.rms_norm(x.to(torch.complex64), w), "rms_norm: x has an element type that octavo does not know"),
            (lambda: octavo.rms_norm(x, w, eps=-1.0), "rms_norm: eps is -1"),
            (lambda: octavo.embedding(torch.zeros(3, dtype=torch.int64, device=device), x), "embedding: ids is i64.3., expected i32|embedding: ids .*i64"),
            (lambda: octavo.bias_gelu(x, approximate="sigmoid"), "approximate is 'sigmoid'"),
            (lambda: octavo.gemm_w8a8(x, w, x.to(torch.int8), w), "gemm_w8a8: x is f32"),
            (lambda: octavo.gemm_w8a8(x, w, x, w, activation="relu"), "gemm_w8a8: activation is 'relu', expected one of 'none', 'gelu'"),
            (lambda: octavo.gemm_w8a8(x, w, x, w, amax=True, y_scale=w), "gemm_w8a8: y_scale makes int8 of the scaled product alone"),
            (lambda: octavo.adamw([x], [x, x], [x], [x], torch.zeros(1, dtype=torch.int32, device=device)), "adamw: grads has 2 tensors, params 1"),
            (lambda: octavo.adamw([x], [x], [x], [x.half()], torch.zeros(1, dtype=torch.int32, device=device)), r"tensors\[0\].exp_avg_sq")]:
        with pytest.raises(octavo.UsageError, match=message):
            call()


def test_tensors_on_two_devices(cuda):
    x = rand("cuda", torch.float32, 6, 64)
    with pytest.raises(octavo.UsageError, match="rms_norm: weight is on cpu, x on cuda:0; all tensors of a call lie on one device"):
        octavo.rms_norm(x, torch.ones(64))
    with pytest.raises(octavo.NoDeviceError, match="sample: logits is on cuda:0, but this op has no CUDA kernel yet"):
        if "sample" in octavo.build_info()["cuda_ops"]:
            pytest.skip("every op has CUDA kernels now")
        octavo.sample(x[0])


def test_pages_and_lengths_are_checked():
    q, k_cache, v_cache, page_table, q_start, kv_len = CASES["attention_f_paged"].arguments("cpu", torch.float32)
    wrong = page_table.clone()
    wrong[0, 1] = 4
    with pytest.raises(octavo.UsageError, match="page_table holds 4 for page 1 of sequence 0, but k_cache has pages 0 to 3"):
        octavo.attention_f_paged(q, k_cache, v_cache, wrong, q_start, kv_len)
    with pytest.raises(octavo.UsageError, match="kv_len"):
        octavo.attention_f_paged(q, k_cache, v_cache, page_table, q_start, kv_len + 200)
    q, k, v = CASES["attention_f"].arguments("cpu", torch.float32)
    with pytest.raises(octavo.UsageError, match="kv_len is 10 for sequence 0, but k has 0 to 9 keys"):
        octavo.attention_f(q, k, v, kv_len=torch.tensor([10, 9], dtype=torch.int32))
    k, v, positions, k_cache, v_cache, page_table = MUTATING["kv_append"][0]("cpu")
    with pytest.raises(octavo.UsageError, match="sequences names sequence 1 for token 2, but page_table has sequences 0 to 0"):
        octavo.kv_append(k, v, positions, k_cache, v_cache, page_table, sequences=torch.tensor([0, 0, 1], dtype=torch.int32))
    with pytest.raises(octavo.UsageError, match="page_table holds 9"):
        octavo.kv_append(k, v, positions, k_cache, v_cache, torch.tensor([[3, 9]], dtype=torch.int32))
    assert not k_cache.any()


def test_int8_cache_and_window():
    k, v = rand("cpu", torch.float32, 70, 2, 16), rand("cpu", torch.float32, 70, 2, 16, seed=1)
    positions, page_table = torch.arange(70, dtype=torch.int32), torch.tensor([[1, 0]], dtype=torch.int32)
    cache = [torch.zeros(2, 2, 64, 16, dtype=torch.int8) for _ in range(2)]
    scales = [torch.zeros(2, 2, 64) for _ in range(2)]
    octavo.kv_append(k, v, positions, *cache, page_table, None, *scales)
    q = rand("cpu", torch.float32, 1, 4, 16)
    starts, lengths = torch.tensor([0, 1], dtype=torch.int32), torch.tensor([70], dtype=torch.int32)
    out, _ = octavo.attention_f_paged(q, *cache, page_table, starts, lengths, *scales, window=7)
    wanted, _ = CASES["attention_f"].reference(q[None], k[None], v[None], window=7)
    torch.testing.assert_close(out, wanted[0], rtol=0.05, atol=0.05)
    with pytest.raises(octavo.UsageError, match="k_scale"):
        octavo.attention_f_paged(q, *cache, page_table, starts, lengths)


def test_calls_do_not_grow(device, expect_no_growth):
    """Every op and an error, their tensors created and destroyed 10,000 times; INT8 attention, slow on a CPU, 200 times there."""
    calls = [(getattr(octavo.eager, name), case.arguments(device, torch.float32), 50 if device == "cpu" and "attention_int8" in name else 1)
             for name, case in CASES.items() if device == "cpu" or on_cuda(name)]
    x, w, rounds = rand(device, torch.float32, 4, 64), rand(device, torch.float32, 64), itertools.count()

    def body():
        number = next(rounds)
        for call, arguments, every in calls:
            if number % every == 0:
                call(*arguments)
        OPS.rms_norm(x, w)
        try:
            octavo.rms_norm(x, w[:3])
        except octavo.UsageError:
            pass

    octavo.set_num_threads(1)  # handing rows this small to threads takes longer than computing them
    try:
        expect_no_growth(body, 10_000, 8 << 20)
    finally:
        octavo.set_num_threads(0)


# ---- every op: types, devices, layouts --------------------------------------------------------------------------------------

FIRST_TENSOR_NAMES = {"attention_f_paged": "attention_f", "attention_int8_codes": "attention_int8", "attention_int8_quantize": "attention_int8",
                      "gemm_w8a8_s32": "gemm_w8a8", "gemm_w8a8_fused": "gemm_w8a8", "gemm_w8a8_amax": "gemm_w8a8"}


def kernel_name(name):
    return FIRST_TENSOR_NAMES.get(name, name.removesuffix("_int8").removesuffix("_residual") if name != "attention_int8" else name)


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_type_is_named(name, device):
    needs_kernel(name, device)
    first, *others = CASES[name].arguments(device, torch.float32)
    with pytest.raises(octavo.UsageError, match=f"^{kernel_name(name)}: "):
        getattr(OPS, name)(first.double(), *others)
    with pytest.raises((TypeError, RuntimeError)):
        getattr(OPS, name)("no tensor", *others)


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_device_is_named(name, cuda):
    needs_kernel(name, "cuda")
    first, *others = CASES[name].arguments("cuda", torch.float32)
    if not any(isinstance(t, torch.Tensor) for t in others):
        pytest.skip("one tensor only")
    with pytest.raises((octavo.UsageError, RuntimeError), match="device"):
        getattr(OPS, name)(first.cpu(), *others)


def in_a_wider_tensor(t):
    """The same values one element behind an aligned address, rows further apart than their width."""
    wide = torch.zeros((*t.shape[:-1], t.shape[-1] + 3), dtype=t.dtype, device=t.device)
    wide[..., 1:-2] = t
    return wide[..., 1:-2]


@pytest.mark.parametrize("name", CASES)
def test_other_layouts_are_right_or_refused_by_name(name, device):
    """Each tensor in turn misaligned and spread out, and with another stride in its last dimension."""
    case = CASES[name]
    needs_kernel(name, device)
    arguments = case.arguments(device, torch.float32)
    aligned = getattr(OPS, name)(*arguments)
    served = 0
    for at, tensor in enumerate(arguments):
        if not isinstance(tensor, torch.Tensor) or tensor.dim() == 0:
            continue
        for other in (in_a_wider_tensor(tensor), torch.stack((tensor, tensor), -1)[..., 0]):
            assert torch.equal(other, tensor)
            try:
                results = getattr(OPS, name)(*arguments[:at], other, *arguments[at + 1:])
            except octavo.UsageError as error:
                assert str(error).startswith(f"{kernel_name(name)}: ")
                continue
            served += 1
            for a, b in zip(*([r] if isinstance(r, torch.Tensor) else r for r in (results, aligned))):
                torch.testing.assert_close(a.float(), b.float(), rtol=1e-4, atol=1e-4 if a.is_floating_point() else 1)
    assert served or name.startswith(("attention_int8_codes", "sample")), "no other layout is served"


# ---- CUDA -----------------------------------------------------------------------------------------------------------------

def test_current_stream_is_honoured(cuda):
    """A long wait in front of the op on a stream of its own: the op must wait for it, and not for the default stream."""
    x, w = torch.zeros(4096, 4096, device="cuda"), torch.ones(4096, device="cuda")
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        x.add_(1)
        y = octavo.rms_norm(x, w)
        z = OPS.rms_norm(x, w)
    assert torch.cuda.default_stream().query()
    side.synchronize()
    torch.testing.assert_close(y, torch.ones_like(y), rtol=1e-4, atol=1e-4)
    assert torch.equal(y, z)


@pytest.mark.parametrize("name", CASES)
def test_every_op_waits_for_its_stream_and_replays_in_a_graph(name, cuda):
    """Inputs that arrive late on a stream of their own; then a graph of the call, replayed with new values in the same memory."""
    case, op = CASES[name], getattr(OPS, name)
    needs_kernel(name, "cuda")
    arguments = case.arguments("cuda", torch.float32)
    changing = [t for t in arguments if isinstance(t, torch.Tensor) and t.dtype in (torch.float32, torch.int8)]
    values = [t.clone() for t in changing]
    flipped = [t.flip(0) for t in values]

    def outputs(results):
        return [r.clone() for r in ([results] if isinstance(results, torch.Tensor) else results)]

    wanted = outputs(op(*arguments))
    [t.copy_(v) for t, v in zip(changing, flipped)]
    wanted_flipped = outputs(op(*arguments))
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(20_000_000)
        [t.copy_(v) for t, v in zip(changing, values)]
        late = op(*arguments)
    assert torch.cuda.default_stream().query()
    side.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(outputs(late), wanted))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = op(*arguments)
    for new, expected in ((flipped, wanted_flipped), (values, wanted)):
        [t.copy_(v) for t, v in zip(changing, new)]
        graph.replay()
        assert all(torch.equal(a, b) for a, b in zip(outputs(captured), expected))


def test_cuda_graph_replays_with_new_inputs(cuda):
    x, w = rand("cuda", torch.float16, 64, 512), rand("cuda", torch.float16, 512)
    codes_w, scale_w = octavo.quantize_rows(rand("cuda", torch.float32, 256, 512))

    def forward():
        y, u = octavo.rms_norm(x, w, residual=x)
        codes, scale = octavo.silu_mul(y, u, int8=True)
        return octavo.gemm_w8a8(codes, scale, codes_w, scale_w), OPS.bias_gelu(y, w, "tanh")

    forward()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = forward()
    for seed in range(3):
        x.copy_(rand("cuda", torch.float16, 64, 512, seed=seed))
        graph.replay()
        for got, wanted in zip(outputs, forward()):
            assert torch.equal(got, wanted)


def test_second_device(cuda):
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device only")
    x = rand("cuda:1", torch.float32, 6, 64)
    assert octavo.rms_norm(x, torch.ones(64, device="cuda:1")).device.index == 1 and torch.cuda.current_device() == 0
