"""The training loop: one core, Muon for the matrices, AdamW for the rest, a trapezoid of learning rates."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean

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

    steps: int = 2800
    seed: int = 7
    tokens: int = 2048
    matrix_rate: float = 0.02
    vector_rate: float = 0.004
    warm: int = 100
    cool: float = 0.6

    def share(self, step: int) -> float:
        """The share of the full rates at `step`: up, level, then down to nothing over the last `cool` of the steps.

        Until it cools it doesn't depend on `steps`, so a kept state can still be given a longer or a shorter plan.
        """
        return min(1.0, (step + 1) / self.warm, (self.steps - step) / (self.cool * self.steps))


def train(tokenizer: Tokenizer, shape: Shape, plan: Plan, kept: Path, say: Callable[[str], None] = print) -> TinyChat:
    """A trained model. The same plan on the same machine gives the same weights.

    The state is kept in the file `kept` while it goes; if there is one already, training goes on from there and ends in
    the same weights, so that it can be stopped when the machine is needed for something else.
    """
    torch.manual_seed(plan.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = TinyChat(shape)
    optimizers = _optimizers(model, plan)
    first = _resume(kept, model, optimizers)
    stream = islice(batches(tokenizer, plan.seed, plan.tokens, shape.context), first, plan.steps)
    began, losses = time.monotonic(), deque[float](maxlen=100)
    for step, batch in enumerate(stream, first):
        _set_rates(optimizers, plan.share(step))
        losses.append(_step(model, optimizers, _tensors(batch, filler(tokenizer))))
        if step % 100 == 99:
            _keep(kept, step + 1, model, optimizers)
            say(f"step {step + 1}/{plan.steps}  loss {mean(losses):.4f}  {time.monotonic() - began:.0f} s")
    return model


def _keep(kept: Path, step: int, model: TinyChat, optimizers: list[torch.optim.Optimizer]) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    torch.save([step, model.state_dict(), *(one.state_dict() for one in optimizers)], kept.with_suffix(".new"))
    kept.with_suffix(".new").replace(kept)


def _resume(kept: Path, model: TinyChat, optimizers: list[torch.optim.Optimizer]) -> int:
    """The steps already done."""
    if not kept.exists():
        return 0
    step, weights, *states = torch.load(kept)
    model.load_state_dict(weights)
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(state)
    return int(step)


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
