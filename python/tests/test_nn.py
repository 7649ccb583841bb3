"""octavo.nn beside torch.nn: values, gradients, state dicts, torch.compile; a model that learns."""
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import torch.nn.functional as F  # noqa: E402

import octavo  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["RMSNorm", "LayerNorm"])
def test_norms(name, dtype, device):
    ours, theirs = (getattr(module, name)(96, device=device, dtype=dtype) for module in (octavo.nn, torch.nn))
    with torch.no_grad():
        for p in theirs.parameters():
            p.normal_()
    ours.load_state_dict(theirs.state_dict())
    x, r = torch.randn(2, 5, 96, device=device, dtype=dtype), torch.randn(2, 5, 96, device=device, dtype=dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(ours(x), theirs(x), rtol=tolerance, atol=tolerance)
    y, u = ours(x, r)
    assert torch.equal(u, x + r)
    torch.testing.assert_close(y, theirs(x + r), rtol=tolerance, atol=tolerance)
    if dtype == torch.float32:
        gradients = []
        for module in (ours, theirs):
            leaf = x.clone().requires_grad_()
            module(leaf).square().sum().backward()
            gradients.append([leaf.grad, *(p.grad for p in module.parameters())])
        for a, b in zip(*gradients):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["silu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
def test_mlp(activation, bias, device):
    mlp = octavo.nn.MLP(64, 96, activation, bias=bias, device=device)
    x = torch.randn(3, 5, 64, device=device)
    if activation == "silu":
        wanted = mlp.down_proj(F.silu(mlp.gate_proj(x)) * mlp.up_proj(x))
    else:
        wanted = mlp.down_proj(F.gelu(mlp.up_proj(x), approximate="tanh" if activation == "gelu_tanh" else "none"))
    torch.testing.assert_close(mlp(x), wanted, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()
    graph = torch.compile(mlp, fullgraph=True, backend="aot_eager")  # test_torch_ops.py compiles code too, which takes seconds a graph
    torch.testing.assert_close(graph(x), wanted, rtol=1e-4, atol=1e-5)


def int8_error(mode, rows, device, dtype=torch.float32, bias=True):
    linear = torch.nn.Linear(96, 64, bias=bias, device=device, dtype=dtype)
    x = torch.randn(rows, 96, device=device, dtype=dtype)
    with torch.no_grad():
        got, wanted = octavo.nn.Int8Linear.from_linear(linear, mode)(x), linear(x)
    assert got.dtype == dtype and got.shape == wanted.shape
    return ((got - wanted).float().norm() / wanted.float().norm()).item()


@pytest.mark.parametrize("mode", octavo.nn.Int8Linear.MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_int8_linear(mode, dtype, device):
    for rows in (1, 16, 17, 200):
        assert int8_error(mode, rows, device, dtype, bias=rows != 16) < 0.02
    if dtype == torch.float32:  # activations that are quantised too err more
        assert int8_error("w8a16", 200, device) < int8_error("w8a8", 200, device)


def small_model(device="cpu"):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.ReLU(), torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False)),
                               torch.nn.Linear(64, 8)).to(device)


def test_quantize_a_model(device):
    model, x = small_model(device), torch.randn(40, 32, device=device)
    wanted = model(x)
    assert octavo.quantize_(model, skip="3") is model
    kinds = [type(model[0]), type(model[2][0]), type(model[3])]
    assert kinds == [octavo.nn.Int8Linear, octavo.nn.Int8Linear, torch.nn.Linear]
    with torch.no_grad():
        assert ((model(x) - wanted).norm() / wanted.norm()).item() < 0.03
        torch._dynamo.reset()
        graph = torch.compile(model, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(graph(x), model(x))
    twin = octavo.quantize_(small_model(device), skip="3")
    for buffer in twin.buffers():
        buffer.zero_()
    assert not twin.load_state_dict(model.state_dict()).missing_keys
    with torch.no_grad():
        assert torch.equal(twin(x), model(x))
    half = twin.half()  # scale and bias stay float32, codes int8
    assert half[0].weight.dtype == torch.int8 and half[0].weight_scale.dtype == half[0].bias.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(half(x.half()).float(), model(x), rtol=0.05, atol=0.05)


def test_what_int8_refuses():
    with pytest.raises(octavo.UsageError, match="mode is 'int4', expected one of auto, w8a16, w8a8"):
        octavo.nn.Int8Linear(8, 8, mode="int4")
    with pytest.raises(octavo.UsageError, match="itself an nn.Linear"):
        octavo.quantize_(torch.nn.Linear(8, 8))
    with pytest.raises(octavo.UsageError, match="no submodule of that name"):
        octavo.quantize_(small_model(), skip=("lm_head",))
    with pytest.raises(octavo.UsageError, match="meta device"):
        octavo.nn.Int8Linear.from_linear(torch.nn.Linear(8, 8, device="meta"))
    with pytest.raises(RuntimeError, match="octavo.gemm_w8a16 has no gradient"):
        octavo.quantize_(small_model())(torch.randn(2, 32, requires_grad=True)).sum().backward()


def test_what_is_refused():
    for module in (octavo.nn.RMSNorm, octavo.nn.LayerNorm):
        with pytest.raises(ValueError, match="has 2 dimensions, expected 1"):
            module((4, 8))
        with pytest.raises(ValueError, match="elementwise_affine=False is not served"):
            module(8, elementwise_affine=False)
    with pytest.raises(ValueError, match="activation 'swish' is unknown"):
        octavo.nn.MLP(8, 8, "swish")


def test_a_model_learns(device):
    torch.manual_seed(0)
    model = torch.nn.Sequential(octavo.nn.LayerNorm(16), octavo.nn.MLP(16, 32), octavo.nn.RMSNorm(16), torch.nn.Linear(16, 1)).to(device)
    optimizer = octavo.optim.AdamW(model.parameters(), lr=3e-3)
    x = torch.randn(256, 16, device=device)
    target = x[:, :1] * x[:, 1:2]
    losses = []
    for _ in range(150):
        loss = F.mse_loss(model(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
