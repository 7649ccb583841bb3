#!/usr/bin/env python3
"""Training proof: the built-in model's recipe (train_demo.py) in fp32 with octavo.optim.AdamW and with torch.optim.AdamW(fused=True).

    python3 tools/compare_optimizers.py --tokens tokens.npz --out training.json [--steps 500] [--device cuda] [--batch 32]

Both models begin equal and see the same rows and the same dropout, step by step. Written: both loss curves, the largest difference
of the parameters after the first step, the largest relative difference of the mean loss over 10 steps, and milliseconds an update.
Exit 1 when a bound of issue 6 is broken: 1e-6 after step 1, 5e-3 relative over all steps.
"""
import argparse
import json
import sys
import time
from pathlib import Path

WINDOW = 10  # steps of a mean
FIRST_STEP, CURVE = 1e-6, 5e-3


def make(kind, arguments, train_demo, octavo, torch):
    torch.manual_seed(arguments.seed)
    model = train_demo.Llama(train_demo.Shape(context=arguments.context), arguments.dropout).to(arguments.device)
    groups = [{"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    if kind == "octavo":
        return model, octavo.optim.AdamW(groups, lr=arguments.lr, betas=(0.9, 0.95))
    return model, torch.optim.AdamW(groups, lr=arguments.lr, betas=(0.9, 0.95), fused=True)


def train(arguments):
    import numpy as np
    import torch
    import octavo
    sys.path.insert(0, str(Path(__file__).parent))
    import train_demo

    torch.set_float32_matmul_precision("highest")
    tokens = torch.from_numpy(np.load(arguments.tokens)["simple"].astype(np.int32)).to(arguments.device).long()
    pairs = {kind: make(kind, arguments, train_demo, octavo, torch) for kind in ("octavo", "torch")}
    rows_of = torch.Generator(device="cpu").manual_seed(arguments.seed)
    span = torch.arange(arguments.context + 1, device=arguments.device)
    losses, first_step, begin, events = {kind: [] for kind in pairs}, None, time.time(), {kind: [] for kind in pairs}
    for step in range(arguments.steps):
        if step % WINDOW == 0 and step:
            means = {kind: torch.stack(values[-WINDOW:]).mean().item() for kind, values in losses.items()}  # waits for the device
            print(f"step {step}, {time.time() - begin:.1f} s, " + ", ".join(f"{kind} {mean:.4f}" for kind, mean in means.items()), flush=True)
            if time.time() - begin > arguments.seconds:
                break
        done = step / arguments.steps
        rate = arguments.lr * min(1.0, (step + 1) / train_demo.WARMUP, (1 - done) / (1 - train_demo.DECAY_FROM))
        start = torch.randint(0, len(tokens) - arguments.context - 1, (arguments.batch, 1), generator=rows_of).to(arguments.device)
        rows = tokens[start + span]
        for kind, (model, optimizer) in pairs.items():
            torch.manual_seed(arguments.seed + step)  # the same dropout
            loss = model(rows[:, :-1], rows[:, 1:])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = rate
            mark = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if arguments.device == "cuda" else None
            if mark:
                mark[0].record()
            optimizer.step()
            if mark:
                mark[1].record()
                events[kind].append(mark)
            optimizer.zero_grad(set_to_none=True)
            losses[kind].append(loss.detach())
        if step == 0:
            first_step = max((a - b).abs().max().item() for a, b in zip(pairs["octavo"][0].parameters(), pairs["torch"][0].parameters()))
    curves = {kind: torch.stack(values).double().cpu() for kind, values in losses.items()}
    if len(curves["octavo"]) < WINDOW:
        sys.exit(f"compare_optimizers: only {len(curves['octavo'])} steps within --seconds {arguments.seconds:g}")
    count = len(curves["octavo"]) // WINDOW * WINDOW
    means = {kind: c[:count].view(-1, WINDOW).mean(1) for kind, c in curves.items()}
    apart = ((means["octavo"] - means["torch"]).abs() / means["torch"]).max().item()
    update = {kind: sorted(a.elapsed_time(b) for a, b in marks)[len(marks) // 2] for kind, marks in events.items() if marks}
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu"
    result = {"what": "built-in model's recipe in fp32, octavo.optim.AdamW against torch.optim.AdamW(fused=True)", "device": device,
              "torch": torch.__version__, "octavo": octavo.__version__, "steps": len(curves["octavo"]), "steps_wanted": arguments.steps,
              "batch": arguments.batch, "context": arguments.context, "tensors": len(list(pairs["octavo"][0].parameters())), "lr": arguments.lr, "dropout": arguments.dropout, "seed": arguments.seed,
              "seconds": round(time.time() - begin, 1), "largest_difference_after_step_1": first_step,
              "largest_relative_difference_of_mean_loss": apart, "window": WINDOW, "update_ms_p50": update,
              "loss": {kind: [round(v, 6) for v in c.tolist()] for kind, c in curves.items()}}
    arguments.out.write_text(json.dumps(result) + "\n")
    held = first_step <= FIRST_STEP and apart <= CURVE and result["steps"] == arguments.steps
    print(f"training proof: {result['steps']} of {arguments.steps} steps, after step 1 {first_step:.2e} (at most {FIRST_STEP:g}), mean loss "
          f"over {WINDOW} steps apart {apart:.2e} relative (at most {CURVE:g}), last mean {means['octavo'][-1]:.4f} and {means['torch'][-1]:.4f}, "
          f"update {', '.join(f'{k} {v:.3f} ms' for k, v in update.items())}, {result['seconds']} s: {'holds' if held else 'DOES NOT HOLD'}")
    return 0 if held else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=Path, required=True, help="tokens.npz with an array `simple`, as train_demo.py keeps it in its --cache")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after that, which breaks the proof")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cuda")
    given = parser.parse_args()
    if given.steps < WINDOW:
        parser.error(f"--steps {given.steps}: at least {WINDOW}, the steps of a mean")
    sys.exit(train(given))
