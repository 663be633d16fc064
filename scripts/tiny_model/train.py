"""The training loop: one core, Muon for the matrices, AdamW for the rest, a trapezoid of learning rates."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scripts.tiny_model.batches import IGNORED as LABEL_IGNORED
from scripts.tiny_model.batches import Sample, batches, filler, padded
from scripts.tiny_model.model import IGNORED, Shape, TinyChat
from scripts.tiny_model.tokenizer import Tokenizer

assert IGNORED == LABEL_IGNORED


@dataclass(frozen=True)
class Plan:
    """How long and how fast. `tokens` is the size of a batch in token places."""

    steps: int = 9000
    seed: int = 7
    tokens: int = 2048
    matrix_rate: float = 0.02
    vector_rate: float = 0.004
    warm: float = 0.02
    cool: float = 0.45


def train(tokenizer: Tokenizer, shape: Shape, plan: Plan, say: Callable[[str], None] = print) -> TinyChat:
    """A trained model. The same plan on the same machine gives the same weights."""
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = TinyChat(shape)
    optimizers = _optimizers(model, plan)
    stream = batches(tokenizer, plan.seed, plan.tokens, shape.context)
    began, shown = time.monotonic(), 0.0
    for step in range(plan.steps):
        _set_rates(optimizers, _rate(step, plan))
        loss = _step(model, optimizers, _tensors(next(stream), filler(tokenizer)))
        shown = loss if step == 0 else 0.98 * shown + 0.02 * loss
        if step % 100 == 99:
            say(f"step {step + 1}/{plan.steps}  loss {shown:.4f}  {time.monotonic() - began:.0f} s")
    return model


def _step(model: TinyChat, optimizers: list[torch.optim.Optimizer], batch: tuple[Tensor, Tensor]) -> float:
    loss: Tensor = model(*batch)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def _tensors(batch: list[Sample], fill: int) -> tuple[Tensor, Tensor]:
    ids, labels = padded(batch, fill)
    return torch.tensor(ids), torch.tensor(labels)


def _optimizers(model: TinyChat, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon learns the same text in about half the steps that AdamW needs, which on one core is what counts."""
    matrices = [weight for weight in model.blocks.parameters() if weight.dim() == 2]
    rest = [model.embedding.weight, *(weight for weight in model.parameters() if weight.dim() == 1)]
    muon = torch.optim.Muon(matrices, lr=plan.matrix_rate, weight_decay=0.01, momentum=0.95, ns_steps=4)
    adam = torch.optim.AdamW(rest, lr=plan.vector_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["full_rate"] = group["lr"]
    return [muon, adam]


def _set_rates(optimizers: list[torch.optim.Optimizer], share: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["full_rate"] * share


def _rate(step: int, plan: Plan) -> float:
    """Up, level, then down to nothing over the last `cool` share of the steps."""
    return min(1.0, (step + 1) / (plan.warm * plan.steps), (plan.steps - step) / (plan.cool * plan.steps))
