"""A small masked-diffusion transformer on tokens, and the reader of its folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load as deserialize
from torch import nn

from diffnum.discrete.processes import Masked
from diffnum.jobs.data import read_json
from diffnum.models.loading.files import MissingModelError, ModelFileError, verified_bytes
from diffnum.models.loading.toy import toy_folder

__all__ = ["NetworkTokens", "TokenTransformer", "TokenTransformerConfig", "load_tokens"]

CARD = "tokens.json"
"""Configuration of a model on tokens; models of images have config.json."""


@dataclass(frozen=True, slots=True)
class TokenTransformerConfig:
    """Sizes of a :class:`TokenTransformer`.

    Parameters
    ----------
    length
        Number of positions.
    tokens
        Number of tokens; the mask is token ``tokens``.
    num_classes
        Number of labels; label ``num_classes`` means none.
    width
        Width of the residual stream.
    depth
        Number of blocks.
    heads
        Attention heads.
    dropout
        In training only.
    """

    length: int
    tokens: int
    num_classes: int
    width: int = 64
    depth: int = 3
    heads: int = 4
    dropout: float = 0.1


class TokenTransformer(nn.Module):
    """Bidirectional transformer that predicts every token from those that show; the time does not enter.

    Parameters
    ----------
    config
        Sizes.
    """

    def __init__(self, config: TokenTransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.tokens + 1, config.width)
        self.place = nn.Parameter(0.02 * torch.randn(config.length, config.width))
        self.label = nn.Embedding(config.num_classes + 1, config.width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.width, config.heads, 3 * config.width, config.dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)
        self.exit = nn.Linear(config.width, config.tokens)

    def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Logits, shape (batch, length, tokens), of states of shape (batch, length) and labels of shape (batch,)."""
        stream = self.token(x) + self.place + self.label(label)[:, None]
        for block in self.blocks:
            stream = block(stream)
        return cast(torch.Tensor, self.exit(self.norm(stream)))


@dataclass(frozen=True, eq=False)
class NetworkTokens:
    """A network as a model of tokens, for :func:`diffnum.discrete.sample`.

    Parameters
    ----------
    module
        The network.
    length, tokens, num_classes
        Positions, tokens, labels.
    name
        Name of the model.
    shape
        Shape in which the positions stand, such as (8, 8).
    label
        Label of every sequence, or one for each; none by default.
    """

    module: nn.Module
    length: int
    tokens: int
    num_classes: int
    name: str
    shape: tuple[int, ...]
    label: int | tuple[int, ...] | None = None

    @property
    def process(self) -> Masked:
        """The noise that the network was trained on; its schedule does not matter."""
        return Masked()

    def conditioned(self, label: Any) -> NetworkTokens:
        """The same with a label 0 ... num_classes - 1 for all sequences, one for each, or None."""
        if label is None or np.ndim(label) == 0:
            labels: Any = None if label is None else int(label)
        else:
            labels = tuple(int(one) for one in label)
        for one in labels if isinstance(labels, tuple) else (labels,):
            if one is not None and not 0 <= one < self.num_classes:
                msg = f"label={one}: {self.name} has labels 0 ... {self.num_classes - 1}, or None"
                raise ValueError(msg)
        return replace(self, label=labels)

    @torch.no_grad()
    def __call__(self, x: Any, t: Any) -> NDArray[np.float64]:  # noqa: ARG002
        """Marginals of every token in float64, shape (n, L, S); of shown tokens too, where no sampler asks for them."""
        state = torch.as_tensor(np.asarray(x), dtype=torch.long)
        given = self.num_classes if self.label is None else self.label
        labels = torch.as_tensor(given).expand(len(state)) if np.ndim(given) == 0 else torch.as_tensor(given)
        if len(labels) != len(state):
            msg = f"{len(labels)} labels for {len(state)} sequences: give one for each, or one for all"
            raise ValueError(msg)
        logits = self.module(state, labels).double()
        return cast("NDArray[np.float64]", torch.softmax(logits, dim=-1).numpy())


def load_tokens(name: str | Path = "digits-tokens") -> NetworkTokens:
    """Load a small model of tokens that ships with the package.

    Parameters
    ----------
    name
        Name of a shipped model, or the path of a folder that holds ``tokens.json``.

    Returns
    -------
    NetworkTokens

    Raises
    ------
    MissingModelError
        If there is no such folder or weights file.
    ModelFileError
        If the configuration is malformed, or the weights are not those that it records.
    """
    folder = name if isinstance(name, Path) else toy_folder(name)
    if folder is None or not (folder / CARD).is_file():
        msg = f"model of tokens {str(name)!r} is not here: train it with its train.py"
        raise MissingModelError(msg)
    try:
        card = read_json(folder / CARD)
        config = TokenTransformerConfig(**card["network"])
        weights, sha256, identity, shape = folder / card["weights"], card["sha256"], card["id"], tuple(card["shape"])
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{folder / CARD}: malformed ({error!r}); fetch it again."
        raise ModelFileError(msg) from error
    if not weights.is_file():
        msg = f"{weights} is missing; restore it, or train it with train.py in its folder."
        raise MissingModelError(msg)
    network = TokenTransformer(config)
    network.load_state_dict(deserialize(verified_bytes(weights.read_bytes(), sha256, str(weights))))
    network.eval().requires_grad_(False)
    return NetworkTokens(network, config.length, config.tokens, config.num_classes, identity, shape)
