"""octavo.optim.AdamW beside torch.optim.AdamW: steps, groups, state dicts both ways, scaler, graphs, what is refused."""
import copy

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import octavo  # noqa: E402

SHAPES = [(16, 24), (24,), (3, 2, 5, 5), (2, 2, 2, 2, 2), (1,)]


def twins(device, dtype=torch.float32, shapes=SHAPES):
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(s, generator=generator) for s in shapes]
    return [[torch.nn.Parameter(v.to(device, dtype, copy=True)) for v in values] for _ in range(2)]


def give_gradients(ours, theirs, seed):
    generator = torch.Generator().manual_seed(seed)
    for a, b in zip(ours, theirs):
        gradient = torch.randn(a.shape, generator=generator).to(a.device, a.dtype)
        a.grad, b.grad = gradient.clone(), gradient.to(b.dtype).clone()


def run(ours, theirs, optimizers, steps, first_seed=0):
    for step in range(steps):
        give_gradients(ours, theirs, first_seed + step)
        for optimizer in optimizers:
            optimizer.step()


def expect_equal(ours, theirs, tolerance):
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def groups(params, lr=1e-2):
    return [{"params": params[:2], "weight_decay": 0.1}, {"params": params[2:], "weight_decay": 0.0, "lr": lr / 3}]


@pytest.mark.parametrize("options", [{}, {"betas": (0.8, 0.95), "eps": 1e-6}, {"fused": True}, {"capturable": True}], ids=str)
def test_steps_like_torch(options, device):
    ours, theirs = twins(device)
    ref_options = {k: v for k, v in options.items() if k not in ("fused", "capturable")}
    optimizers = [octavo.optim.AdamW(groups(ours), lr=1e-2, **options), torch.optim.AdamW(groups(theirs), lr=1e-2, **ref_options)]
    run(ours, theirs, optimizers, 1)
    expect_equal(ours, theirs, 1e-6)
    run(ours, theirs, optimizers, 49, 1)
    expect_equal(ours, theirs, 1e-5)


def test_state_moves_from_torch_and_back(device):
    """50 steps after each move are those of an optimizer that never moved."""
    ours, theirs = twins(device)
    mine, reference = octavo.optim.AdamW(groups(ours), lr=1e-2), torch.optim.AdamW(groups(theirs), lr=1e-2)
    run(ours, theirs, [reference], 7)
    with torch.no_grad():
        for a, b in zip(ours, theirs):
            a.copy_(b)
    mine.load_state_dict(copy.deepcopy(reference.state_dict()))
    run(ours, theirs, [mine, reference], 50, 100)
    expect_equal(ours, theirs, 1e-5)

    state = mine.state_dict()
    assert state["state"].keys() == reference.state_dict()["state"].keys()
    for key, entry in reference.state_dict()["state"].items():
        for name, value in entry.items():
            ours_value = state["state"][key][name]
            assert (ours_value.shape, ours_value.dtype) == (value.shape, value.dtype)
            torch.testing.assert_close(ours_value.cpu(), value.cpu(), rtol=1e-5, atol=1e-6)
    back, never_moved = [torch.nn.Parameter(p.detach().clone()) for p in ours], ours
    torch_again = torch.optim.AdamW(groups(back), lr=1e-2)
    torch_again.load_state_dict(copy.deepcopy(state))  # NOTE: torch takes the tensors of a state dict as they are
    run(never_moved, back, [mine, torch_again], 50, 200)
    expect_equal(never_moved, back, 1e-5)


def test_own_state_round_trip_is_exact(device):
    ours, other = twins(device)
    mine, again = octavo.optim.AdamW(ours, lr=1e-2), octavo.optim.AdamW(other, lr=1e-2)
    run(ours, other, [mine], 5)
    with torch.no_grad():
        for a, b in zip(ours, other):
            b.copy_(a)
    again.load_state_dict(mine.state_dict())
    run(ours, other, [mine, again], 5, 50)
    assert all(torch.equal(a, b) for a, b in zip(ours, other))


def test_parameters_that_rest(device):
    """A parameter without a gradient keeps its own step count, as in torch."""
    ours, theirs = twins(device)
    optimizers = [octavo.optim.AdamW(ours, lr=1e-2), torch.optim.AdamW(theirs, lr=1e-2)]
    for step in range(12):
        give_gradients(ours, theirs, step)
        for params in (ours, theirs):
            for i in {0: (0, 1), 1: (2,)}.get(step % 3, ()):
                params[i].grad = None
        for optimizer in optimizers:
            optimizer.step()
    expect_equal(ours, theirs, 1e-5)
    counts = [[int(s["step"]) for s in o.state_dict()["state"].values()] for o in optimizers]
    assert sorted(counts[0]) == sorted(counts[1])


def test_bf16_parameters_with_fp32_moments(device):
    ours, theirs = twins(device, torch.bfloat16)
    exact = [torch.nn.Parameter(p.detach().float()) for p in theirs]
    optimizers = [octavo.optim.AdamW(ours, lr=1e-2), torch.optim.AdamW(exact, lr=1e-2)]
    run(ours, exact, optimizers, 3)
    assert optimizers[0].state[ours[0]]["exp_avg"].dtype == torch.float32
    for a, b in zip(ours, exact):
        torch.testing.assert_close(a.float(), b, rtol=2e-2, atol=2e-2)


def test_channels_last_and_expanded(device):
    p = torch.nn.Parameter(torch.randn(2, 3, 4, 5).to(device).to(memory_format=torch.channels_last))
    q = torch.nn.Parameter(p.detach().clone())
    optimizers = [octavo.optim.AdamW([p]), torch.optim.AdamW([q])]
    p.grad = torch.randn_like(p)
    q.grad = p.grad.clone()
    for optimizer in optimizers:
        optimizer.step()
    torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)
    p.grad = torch.ones(1, device=device).expand(2, 3, 4, 5)
    with pytest.raises(octavo.UsageError, match=r"adamw: tensors\[0\]\..* is not dense"):
        optimizers[0].step()


def test_closure_scheduler_and_zero_grad(device):
    ours, theirs = twins(device)
    optimizers = [octavo.optim.AdamW(ours, lr=1e-2), torch.optim.AdamW(theirs, lr=1e-2)]
    schedulers = [torch.optim.lr_scheduler.StepLR(o, 2, 0.5) for o in optimizers]
    for step in range(6):
        for params, optimizer, scheduler in zip((ours, theirs), optimizers, schedulers):
            def closure():
                optimizer.zero_grad()
                loss = sum(p.square().sum() for p in params)
                loss.backward()
                return loss
            assert optimizer.step(closure) > 0
            scheduler.step()
    expect_equal(ours, theirs, 1e-5)


def test_grad_scaler(device):
    ours, theirs = twins(device)
    optimizers = [octavo.optim.AdamW(ours, lr=1e-2), torch.optim.AdamW(theirs, lr=1e-2)]
    scalers = [torch.amp.GradScaler(device, init_scale=1024.0) for _ in range(2)]
    for step in range(4):
        for params, optimizer, scaler in zip((ours, theirs), optimizers, scalers):
            optimizer.zero_grad()
            factor = float("inf") if step == 2 else 1.0  # an overflow: the step is left out
            scaler.scale(sum((p * p).sum() for p in params) * factor).backward()
            scaler.step(optimizer)
            scaler.update()
    assert scalers[0].get_scale() == scalers[1].get_scale() == 512
    expect_equal(ours, theirs, 1e-5)


@pytest.mark.parametrize("options, message", [({"amsgrad": True}, "amsgrad=True is not served"), ({"maximize": True}, "maximize=True"),
                                              ({"lr": -1.0}, "lr is -1"), ({"betas": (1.0, 0.9)}, "beta1 is 1"), ({"eps": -1e-8}, "eps is")])
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        octavo.optim.AdamW([torch.nn.Parameter(torch.ones(1))], **options)


def test_a_backward_pass_that_needs_old_values_fails(device):
    p = torch.nn.Parameter(torch.ones(3, device=device))
    p.grad = torch.ones_like(p)
    optimizer = octavo.optim.AdamW([p])
    loss = (p * p).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_unserved_parameters_are_named(device):
    half = torch.nn.Parameter(torch.ones(3, device=device, dtype=torch.float16))
    half.grad = torch.ones_like(half)
    with pytest.raises(octavo.UsageError, match=r"adamw: tensors\[0\].param is f16"):
        octavo.optim.AdamW([half]).step()
    embedding = torch.nn.Embedding(4, 2, sparse=True).to(device)
    embedding(torch.zeros(1, dtype=torch.int64, device=device)).sum().backward()
    with pytest.raises(RuntimeError, match="sparse gradients are not served"):
        octavo.optim.AdamW(embedding.parameters()).step()


def test_optimizers_come_and_go_without_growth(device, expect_no_growth):
    def body():
        p = torch.nn.Parameter(torch.ones(8, device=device))
        p.grad = torch.ones_like(p)
        octavo.optim.AdamW([p]).step()

    expect_no_growth(body, 2_000, 8 << 20)


def test_captured_steps(cuda):
    ours, theirs = twins("cuda")
    mine, reference = octavo.optim.AdamW(groups(ours), lr=1e-2), torch.optim.AdamW(groups(theirs), lr=1e-2, fused=True)
    run(ours, theirs, [mine, reference], 1)
    static = [p.grad for p in ours]
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        mine.step()
    for seed in range(20):
        give_gradients(ours, theirs, seed)
        for fixed, p in zip(static, ours):
            fixed.copy_(p.grad)
            p.grad = fixed
        graph.replay()
        reference.step()
    expect_equal(ours, theirs, 1e-5)
    assert {int(s["step"]) for s in mine.state_dict()["state"].values()} == {21}
