"""Classifiers that ship with the toy models, for the guidance rules that need one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file

from diffnum.models.loading.files import MissingModelError, ModelFileError
from diffnum.models.loading.toy import toy_folder
from diffnum.models.quality.features import FeatureNet
from diffnum.types import Schedule

__all__ = ["LEVELS", "NetworkClassifier", "clean_time", "load_classifier", "with_level"]

LEVELS = 3
"""Channels that tell a classifier the noise level: the half-log-SNR, its sine and its cosine."""

FILES = {"noisy": "classifier.safetensors", "clean": "features.safetensors", "minority": "minority.safetensors"}
"""Weights of the classifier of noisy states, of that of data, which also gives features, and of minority labels."""


@dataclass(frozen=True, eq=False)
class NetworkClassifier:
    """Class logits of noisy images, or of data, by a torch module; a :class:`diffnum.guidance.Classifier`.

    Parameters
    ----------
    module : torch.nn.Module
        From images in [-1, 1], shape (n, channels, height, width), to logits, shape (n, K); that of noisy states is
        given the channels of :func:`with_level` too.
    num_classes : int
        K.
    schedule : Schedule, optional
        Of the noisy states; None for a classifier of data, which takes any state for data.
    """

    module: torch.nn.Module = field(repr=False)
    num_classes: int
    schedule: Schedule | None = None

    def __call__(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        """Logits, shape (n, K), of states ``x`` at time ``t``; ``t=None`` for data."""
        with torch.no_grad():
            return self._logits(x, t).to(x.dtype)

    def vjp(self, x: torch.Tensor, t: Any, cotangent: torch.Tensor) -> torch.Tensor:
        """Gradient by ``x`` of the sum of logits times ``cotangent``, shape (n, K)."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (found,) = torch.autograd.grad(self._logits(leaf, t), leaf, cotangent.to(torch.float32))
        return found

    def _logits(self, x: torch.Tensor, t: Any) -> torch.Tensor:
        if self.schedule is None:
            if t is not None:
                msg = (
                    f"t={t!r}: this classifier knows data only; use load_classifier(model, kind='noisy'), or a rule "
                    "that classifies the predicted data"
                )
                raise ValueError(msg)
            return cast(torch.Tensor, self.module(x.float()))
        schedule = self.schedule
        least = clean_time(schedule)  # data are told as states of the least noise that was trained on
        time = torch.as_tensor(least if t is None else t, dtype=torch.float64, device=x.device).clamp(min=least)
        level = torch.as_tensor(schedule.half_log_snr(time)).expand(len(x))
        return cast(torch.Tensor, self.module(with_level(x.float(), level.float())))


def clean_time(schedule: Schedule) -> float:
    """Time of the least noise on which classifiers are trained, a thousandth of the range."""
    return float(schedule.t_min + 1e-3 * schedule.t_max)


def with_level(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    """Images with channels that tell their noise level.

    Parameters
    ----------
    x : tensor, shape (n, channels, height, width)
        Noisy images of a variance-preserving process.
    level : tensor, shape (n,)
        Half-log-SNRs.

    Returns
    -------
    tensor, shape (n, channels + 3, height, width)
    """
    told = torch.stack([level / 5.0, torch.sin(0.5 * level), torch.cos(0.5 * level)], dim=1)
    return torch.cat([x, told[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)


def load_classifier(model: Any, kind: str = "noisy") -> NetworkClassifier:
    """Classifier that ships with a toy model.

    Parameters
    ----------
    model : NetworkDenoiser
        ``dn.load("toy/digits")`` or ``dn.load("toy/emoji-32")``.
    kind : {"noisy", "clean", "minority"}
        Of noisy states, for classifier guidance; of data, for rules that classify the predicted data, and for rewards;
        or of noisy states by minority label, 0 (the most ordinary quarter of the training images) to 3, for
        :func:`diffnum.guidance.minority_guidance`.

    Returns
    -------
    NetworkClassifier

    Raises
    ------
    MissingModelError
        If none ships with the model.
    ModelFileError
        If the file is malformed.
    ValueError
        If the kind is unknown.
    """
    if kind not in FILES:
        msg = f"kind={kind!r} is unknown: use one of {', '.join(FILES)}"
        raise ValueError(msg)
    name = str(getattr(model, "name", ""))
    folder = toy_folder(name.removeprefix("toy/")) if name.startswith("toy/") else None
    path = None if folder is None else folder / FILES[kind]
    if path is None or not path.is_file():
        msg = (
            f"no {kind} classifier ships with {name or type(model).__name__}: pass one with num_classes, a call (x, t) "
            "and vjp(x, t, cotangent)"
        )
        raise MissingModelError(msg)
    channels = int(model.sample_shape[0])
    knows_levels = kind != "clean"
    network, classes = _read(path, channels + (LEVELS if knows_levels else 0))
    return NetworkClassifier(network.to(model.device), classes, model.schedule if knows_levels else None)


def _read(path: Path, channels: int) -> tuple[FeatureNet, int]:
    try:
        tensors = {name: value for name, value in load_file(path).items() if name != "data"}
        classes = len(tensors["head.bias"])
        network = FeatureNet(channels, classes)
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except Exception as error:
        msg = f"{path}: not a classifier ({error}); restore it, or train it with the command in toy_models."
        raise ModelFileError(msg) from error
    return network.eval().requires_grad_(False), classes
