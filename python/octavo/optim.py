"""AdamW as a torch optimizer: all tensors of a group in one launch."""
import torch
from torch.optim.optimizer import Optimizer

from . import torch_ops  # noqa: F401


class AdamW(Optimizer):
    """torch.optim.AdamW with octavo's kernel: same arguments, same results to rounding, state dicts move both ways.

    Parameters f32 or bf16, dense, on the CPU or a GPU; the moments are always float32. `foreach` and `fused` are accepted and mean
    nothing: there is one implementation. It is always capturable: the step count lies beside the parameters, so a step
    may be captured in a CUDA graph once the state exists (after one step); the learning rate is then the captured one.
    A torch.amp.GradScaler passes its scale and its overflow flag on to the kernel, without a synchronisation.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False, *, maximize=False,
                 foreach=None, capturable=False, differentiable=False, fused=None):
        for name, value in (("amsgrad", amsgrad), ("maximize", maximize), ("differentiable", differentiable)):
            if value:
                raise ValueError(f"octavo.optim.AdamW: {name}=True is not served; use torch.optim.AdamW for it")
        for name, value, good in (("lr", lr, float(lr) >= 0), ("eps", eps, eps >= 0), ("weight_decay", weight_decay, weight_decay >= 0),
                                  ("beta1", betas[0], 0 <= betas[0] < 1), ("beta2", betas[1], 0 <= betas[1] < 1)):
            if not good:
                raise ValueError(f"octavo.optim.AdamW: {name} is {value}, expected " + ("0 or more" if name[0] != "b" else "0 <= beta < 1"))
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize,
                                      foreach=foreach, capturable=capturable, differentiable=differentiable, fused=fused,
                                      decoupled_weight_decay=True))
        self._step_supports_amp_scaling = True

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        grad_scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        for group in self.param_groups:
            for step, params in self._together(group):
                self._update(group, params, step, grad_scale, found_inf)
        return loss

    def _together(self, group):
        """-> [(step tensor, parameters)]: those that have done the same number of steps share one tensor and one launch."""
        cohorts, fresh = {}, {}
        for p in group["params"]:
            if p.grad is None:
                continue
            if p.grad.is_sparse:
                raise RuntimeError("octavo.optim.AdamW: sparse gradients are not served; torch.optim.SparseAdam takes them")
            if not self.state[p]:
                if p.device not in fresh:
                    fresh[p.device] = torch.zeros(1, dtype=torch.int32, device=p.device)
                moment = dict(dtype=torch.float32, memory_format=torch.preserve_format)
                self.state[p] = {"step": fresh[p.device], "exp_avg": torch.zeros_like(p, **moment),
                                 "exp_avg_sq": torch.zeros_like(p, **moment)}
            step = self.state[p]["step"]
            cohorts.setdefault(id(step), (step, []))[1].append(p)
        for step, params in cohorts.values():
            if sum(state["step"] is step for state in self.state.values()) != len(params):
                step = step.clone()  # the others stay behind
                for p in params:
                    self.state[p]["step"] = step
            yield step, params

    def _update(self, group, params, step, grad_scale, found_inf):
        states = [self.state[p] for p in params]
        quads = [_runs(p, p.grad, s["exp_avg"], s["exp_avg_sq"]) for p, s in zip(params, states)]
        skip = None if found_inf is None else (found_inf != 0).to(step.device, torch.int32).reshape(1)
        scale = None if grad_scale is None else grad_scale.to(step.device, torch.float32).reshape(1)
        torch.ops.octavo.adamw(*map(list, zip(*quads)), step, float(group["lr"]), float(group["betas"][0]), float(group["betas"][1]),
                               float(group["eps"]), float(group["weight_decay"]), skip, scale)

    # State dicts are torch's: a float32 step of no dimensions a parameter, moments in the parameter's type.

    def state_dict(self):
        packed = super().state_dict()
        packed["state"] = {key: {**s, "step": s["step"].to(torch.float32).reshape(()).clone()} for key, s in packed["state"].items()}
        return packed

    def load_state_dict(self, state_dict):
        for group in state_dict["param_groups"]:
            for name in ("amsgrad", "maximize"):
                if group.get(name):
                    raise ValueError(f"octavo.optim.AdamW: the state was made with {name}=True, which is not served")
        super().load_state_dict(state_dict)
        given = state_dict["state"]
        places = [(number, key, p) for number, (theirs, ours) in enumerate(zip(state_dict["param_groups"], self.param_groups))
                  for key, p in zip(theirs["params"], ours["params"])]
        shared = {}  # (group, device, steps) -> tensor
        for number, key, p in places:
            if key not in given:
                continue
            steps = int(given[key]["step"])
            together = (number, p.device, steps)
            if together not in shared:
                shared[together] = torch.full((1,), steps, dtype=torch.int32, device=p.device)
            moments = {name: torch.empty_like(p, dtype=torch.float32, memory_format=torch.preserve_format).copy_(given[key][name])
                       for name in ("exp_avg", "exp_avg_sq")}
            self.state[p] = {"step": shared[together], **moments}


def _runs(*tensors):
    """The four tensors of a parameter as runs of elements, when they are dense in one order (channels_last, say)."""
    first = tensors[0]
    if first.is_contiguous() and all(t.is_contiguous() for t in tensors):
        return tensors
    dense = torch.ops.aten.is_non_overlapping_and_dense(first)
    if dense and all(t.stride() == first.stride() for t in tensors):
        return [t.as_strided((t.numel(),), (1,), t.storage_offset()) for t in tensors]
    return tensors  # the op says which one is not dense
