"""A llama-architecture transformer in plain PyTorch: RMSNorm, rotary positions, SwiGLU, tied embeddings."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

IGNORED = -100
"""Label of tokens that aren't learned: everything but the assistant's own words."""


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; `head_size` must be even, for rotary positions turn pairs."""

    vocabulary: int
    width: int = 128
    layers: int = 4
    heads: int = 4
    inner: int = 384
    context: int = 2048
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads


def _matrix(rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(rows, columns))


class Norm(nn.Module):
    """RMSNorm with a learned scale."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class Attention(nn.Module):
    """Causal self-attention. Rotary positions pair the two halves of a head, which is quicker here than neighbours are.

    ggml's llama pairs neighbours, so `export.py` permutes the rows of q and k.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q, self.k, self.v, self.out = (_matrix(shape.width, shape.width) for _ in range(4))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        rows, length, width = x.shape
        mixed = functional.linear(x, torch.cat((self.q, self.k, self.v)).to(x.dtype))
        mixed = mixed.float().view(rows, length, 3 * self.shape.heads, self.shape.head_size).transpose(1, 2)
        q, k, v = mixed.chunk(3, dim=1)  # in single precision: bfloat16's way back is seven times slower here
        seen = functional.scaled_dot_product_attention(rotated(q, turn), rotated(k, turn), v, is_causal=True)
        return functional.linear(seen.transpose(1, 2).reshape(rows, length, width).to(x.dtype), self.out.to(x.dtype))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate, self.up = _matrix(shape.inner, shape.width), _matrix(shape.inner, shape.width)
        self.down = _matrix(shape.width, shape.inner)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = functional.linear(x, torch.cat((self.gate, self.up)).to(x.dtype)).chunk(2, dim=-1)
        return functional.linear(functional.silu(gate) * up, self.down.to(x.dtype))


class Block(nn.Module):
    """One layer: attention, then feed-forward, each after its own norm.

    The stream between layers stays in single precision; inside, bfloat16 makes the products more than twice as fast.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = Norm(shape.width, shape.norm_epsilon)
        self.attention = Attention(shape)
        self.feed_norm = Norm(shape.width, shape.norm_epsilon)
        self.feed = FeedForward(shape)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.attention(self.attention_norm(x).bfloat16(), turn)
        return x + self.feed(self.feed_norm(x).bfloat16())  # type: ignore[no-any-return]


class TinyChat(nn.Module):
    """The whole model: token ids in, the loss over the labelled tokens out."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width, shape.norm_epsilon)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                deep = name.endswith(("out", "down"))
                nn.init.normal_(weight, std=0.02 / (2 * shape.layers) ** 0.5 if deep else 0.02)
        cos, sin = rotations(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids: Tensor, labels: Tensor) -> Tensor:
        length = ids.shape[1]
        turn = (self.get_buffer("cos")[:length], self.get_buffer("sin")[:length])
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, turn)
        learned = labels != IGNORED  # the output layer is the costliest: only where something is learned
        logits = functional.linear(self.norm(x[learned]), self.embedding.weight)
        return functional.cross_entropy(logits.float(), labels[learned])


def rotations(shape: Shape) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (context, head_size / 2)."""
    steps = torch.arange(0, shape.head_size, 2, dtype=torch.float64) / shape.head_size
    angles = torch.outer(torch.arange(shape.context, dtype=torch.float64), shape.rope_base**-steps)
    return angles.cos().float(), angles.sin().float()


def rotated(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """`x` with its two halves turned, as pairs, by the angle of each position."""
    cos, sin = turn
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, first * sin + second * cos), dim=-1)
