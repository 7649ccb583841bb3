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
