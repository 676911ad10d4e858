"""The small networks that ship with the package, and the reader of their folders.

A toy model is a folder with ``config.json`` (what the network is and what was measured on it) and a
``safetensors`` file whose SHA-256 the configuration records, or a folder in diffusers' format with a ``diffnum.json``
that records it (:mod:`diffnum.models.loading.pipelines`). ``toy_models/`` in the repository and
``diffnum/_toy_models`` in an installed wheel hold the same folders.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load as deserialize
from torch import nn

from diffnum.jobs.data import read_json
from diffnum.models.denoiser import NetworkDenoiser
from diffnum.models.loading.files import MissingModelError, ModelFileError, verified_bytes
from diffnum.models.loading.pipelines import load_diffusers
from diffnum.schedules import from_dict

__all__ = ["ConditionalMLP", "ConditionalMLPConfig", "load_toy", "toy_folder", "toy_names"]


@dataclass(frozen=True, slots=True)
class ConditionalMLPConfig:
    """Sizes of a :class:`ConditionalMLP`.

    Parameters
    ----------
    sample_shape
        Shape of one sample, (channels, height, width).
    num_classes
        Number of labels; label ``num_classes`` is the null label of guidance.
    width
        Width of the residual stream and of the hidden layers.
    depth
        Number of residual blocks.
    embedding
        Width of the embedding of noise level and label.
    frequencies
        Number of sine/cosine pairs of the noise level.
    period
        Longest half-period of the features, in units of half-log-SNR; the shortest period is
        ``2 * period / frequencies``, which bounds how fast the network can vary along a trajectory.
    dropout
        Dropout inside the blocks, in training only.
    jump_end
        Half-log-SNR to which a flow-map student jumps where it is not told another; None for an ordinary network,
        which has one noise level.
    """

    sample_shape: tuple[int, int, int]
    num_classes: int
    width: int = 224
    depth: int = 4
    embedding: int = 64
    frequencies: int = 6
    period: float = 12.0
    dropout: float = 0.1
    jump_end: float | None = None


class _Block(nn.Module):
    """Residual block whose normalised input is scaled and shifted by the embedding."""

    def __init__(self, config: ConditionalMLPConfig) -> None:
        super().__init__()
        # A large epsilon keeps the normalisation smooth, with moderate derivatives, where the stream is flat.
        self.norm = nn.LayerNorm(config.width, eps=1e-2, elementwise_affine=False)
        self.modulation = nn.Linear(config.embedding, 2 * config.width)
        self.inner = nn.Linear(config.width, config.width)
        self.outer = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, stream: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        scale, shift = self.modulation(embedding).chunk(2, dim=-1)
        hidden = self.norm(stream) * (1.0 + scale) + shift
        hidden = self.dropout(nn.functional.silu(self.inner(hidden)))
        return stream + cast(torch.Tensor, self.outer(hidden))


class ConditionalMLP(nn.Module):
    """Residual multilayer perceptron on flattened images, conditioned on noise level and label.

    Every operation is infinitely differentiable (SiLU, layer normalisation with a positive epsilon, sines
    and cosines of low frequency), so the right-hand side of the probability-flow equation is too: solvers of
    any order can show their order on it, which networks with ReLU forbid.

    Parameters
    ----------
    config
        Sizes.
    """

    frequencies: torch.Tensor
    goals: torch.Tensor

    def __init__(self, config: ConditionalMLPConfig) -> None:
        super().__init__()
        self.config = config
        pixels = math.prod(config.sample_shape)
        frequencies = math.pi * torch.arange(1, config.frequencies + 1, dtype=torch.float64) / config.period
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.noise_level = nn.Sequential(
            nn.Linear(2 * config.frequencies + 1, config.embedding),
            nn.SiLU(),
            nn.Linear(config.embedding, config.embedding),
        )
        self.label = nn.Embedding(config.num_classes + 1, config.embedding)
        self.entry = nn.Linear(pixels, config.width)
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.exit = nn.Linear(config.width, pixels)
        if config.jump_end is not None:
            last = nn.Linear(config.embedding, config.embedding)
            nn.init.zeros_(last.weight)  # a student starts as its teacher
            nn.init.zeros_(last.bias)
            self.jump = nn.Sequential(nn.Linear(4 * config.frequencies + 2, config.embedding), nn.SiLU(), last)
            goals = torch.tensor([config.jump_end], dtype=torch.float64)
            self.register_buffer("goals", goals, persistent=False)

    def towards(self, levels: Sequence[float]) -> ConditionalMLP:
        """Flow-map student, with the same weights, whose jumps end at the next of these half-log-SNRs.

        Parameters
        ----------
        levels
            Half-log-SNRs of a run, rising.
        """
        bound = copy.copy(self)
        bound._buffers = {**self._buffers, "goals": self.goals.new_tensor(levels)}
        return bound

    def _goal(self, level: torch.Tensor) -> torch.Tensor:
        """Next bound half-log-SNR above each level, shape (batch,)."""
        goals = self.goals.to(level.device)
        above = torch.searchsorted(goals, level.to(goals.dtype) + 1e-3)
        return goals[above.clamp(max=len(goals) - 1)].to(level.dtype)

    def _features(self, level: torch.Tensor) -> torch.Tensor:
        angle = level[:, None] * self.frequencies.to(level.dtype)
        return torch.cat([angle.sin(), angle.cos(), level[:, None] / 5.0], dim=-1)

    def forward(
        self, x: torch.Tensor, level: torch.Tensor, label: torch.Tensor, goal: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Evaluate the network.

        Parameters
        ----------
        x
            Noisy images, shape (batch, *sample_shape).
        level
            Half-log-SNR, natural log of alpha/sigma, shape (batch,).
        label
            Integer labels in 0..num_classes, shape (batch,); ``num_classes`` means "no label".
        goal
            Of flow-map students: half-log-SNR at which the jump ends, shape (batch,); the next bound one by default.

        Returns
        -------
        torch.Tensor
            Prediction, shaped like ``x``.
        """
        features = self._features(level)
        told = self.noise_level(features) + self.label(label)
        if self.config.jump_end is not None:
            ahead = self._features(self._goal(level) if goal is None else goal)
            told = told + self.jump(torch.cat([features, ahead], dim=-1))
        embedding = nn.functional.silu(told)
        stream = self.entry(x.flatten(1))
        for block in self.blocks:
            stream = block(stream, embedding)
        return cast(torch.Tensor, self.exit(stream)).reshape(x.shape)


_ARCHITECTURES = {"conditional-mlp": (ConditionalMLPConfig, ConditionalMLP)}


def _folders() -> list[Path]:
    """Places of the toy models: inside an installed package, or next to it in the repository."""
    package = Path(__file__).resolve().parents[2]
    return [p for p in (package / "_toy_models", package.parent / "toy_models") if p.is_dir()]


def toy_names() -> tuple[str, ...]:
    """Names of the toy models that are present, such as ``("digits",)``."""
    marks = ("*/config.json", "*/model_index.json")
    return tuple(sorted({p.parent.name for folder in _folders() for mark in marks for p in folder.glob(mark)}))


def _is_diffusers(folder: Path) -> bool:
    """Whether diffusers wrote the folder: a pipeline, or a network whose configuration names its class."""
    if (folder / "model_index.json").is_file():
        return True
    config = folder / "config.json"
    return config.is_file() and b'"_class_name"' in config.read_bytes()


def toy_folder(name: str) -> Path | None:
    """Folder of a shipped model, such as ``"digits"``, or ``None``."""
    return next((f / name for f in _folders() if (f / name).is_dir()), None)


def load_toy(
    name: str | Path, *, dtype: torch.dtype = torch.float32, device: torch.device | None = None
) -> NetworkDenoiser:
    """Load a toy model.

    Parameters
    ----------
    name
        Name of a shipped model, such as ``"digits"``, or the path of a folder that holds ``config.json``.
    dtype
        Floating dtype of the parameters; they are stored as float32, those of distilled students as float16.
    device
        Where to put them, the CPU by default.

    Returns
    -------
    NetworkDenoiser
        With labels, if the model was trained with them.

    Raises
    ------
    MissingModelError
        If there is no such folder or weights file.
    ModelFileError
        If the configuration is malformed, or the weights are not those that it records.
    """
    device = torch.device("cpu") if device is None else device
    folder = name if isinstance(name, Path) else toy_folder(name)
    if folder is not None and _is_diffusers(folder):
        return replace(load_diffusers(str(folder), dtype=dtype, device=device), name=f"toy/{folder.name}")
    if folder is None or not (folder / "config.json").is_file():
        msg = (
            f"toy model {str(name)!r} is not here; present: {', '.join(toy_names()) or 'none'}. "
            "Reinstall diffnum, or train it with the command in its README.md."
        )
        raise MissingModelError(msg)
    try:
        card = read_json(folder / "config.json")
        make_config, make_network = _ARCHITECTURES[card["architecture"]]
        sizes = card["network"]
        config = make_config(**{**sizes, "sample_shape": tuple(sizes["sample_shape"])})
        schedule = from_dict(card["schedule"])
        weights, sha256 = folder / card["weights"], card["sha256"]
        low, high = card["value_range"]
        details = {
            "prediction": card["prediction"],
            "default_t_end": card["default_t_end"],
            "name": card["id"],
            "trained_steps": tuple(int(n) for n in card.get("trained_steps", ())),
        }
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{folder / 'config.json'}: malformed ({error!r}); fetch it again."
        raise ModelFileError(msg) from error
    if not weights.is_file():
        msg = f"{weights} is missing; restore it, or train it with the command in {folder / 'README.md'}."
        raise MissingModelError(msg)
    content = verified_bytes(weights.read_bytes(), sha256, str(weights))
    network = make_network(config)
    network.load_state_dict(deserialize(content))
    network.eval().requires_grad_(False).to(device, dtype)
    return NetworkDenoiser(
        module=network,
        schedule=schedule,
        sample_shape=config.sample_shape,
        value_range=(float(low), float(high)),
        dtype=dtype,
        device=device,
        level="half_log_snr",
        num_classes=config.num_classes,
        default_t_start=float(getattr(schedule, "default_t_start", schedule.t_max)),
        **details,
    )
