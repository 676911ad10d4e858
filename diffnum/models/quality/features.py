"""Features in which sets of images are compared: of Inception where it is here, of small networks otherwise.

``shipped``
    the penultimate layer of a small classifier that was trained on the images that the model was trained on
    (``toy_models/features.py``); it lies in the folder of the model, with the features of its training images;
``random``
    the same network with weights from a seed, for models whose training images are not here;
``inception``
    the Inception network of FID, through torch-fidelity (which fetches its weights when it first needs them).

Distances in the first two are *not* the FID or KID of the literature, and are called so nowhere without saying whose
features they use.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from diffnum.models.loading.files import ModelFileError
from diffnum.models.loading.toy import toy_folder
from diffnum.types import FloatArray

__all__ = ["FeatureNet", "Features", "Source", "features_for"]

Source: TypeAlias = Literal["auto", "inception", "shipped", "random"]

DIMENSION = 64
"""Features of the small networks: few enough that a thousand samples determine their covariance."""

_FILE = "features.safetensors"


class FeatureNet(nn.Module):
    """Small convolutional classifier; its features are what enters the last layer.

    Parameters
    ----------
    channels
        Channels of the images.
    classes
        Number of labels.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(256, DIMENSION),
        )
        self.head = nn.Linear(DIMENSION, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape (n, classes), of images in [-1, 1], shape (n, channels, height, width)."""
        logits: torch.Tensor = self.head(nn.functional.silu(self.body(x)))
        return logits


@dataclass(frozen=True, eq=False)
class Features:
    """A map from images to features.

    Parameters
    ----------
    source : {"inception", "shipped", "random"}
        Where it is from.
    about : str
        The same in a sentence, to stand beside every number.
    compute : callable
        Images in [-1, 1], shape (n, channels, height, width), float32, to features, shape (n, d).
    data : ndarray, shape (m, d), optional
        Features of the images that the model was trained on.
    """

    source: str
    about: str
    compute: Callable[[torch.Tensor], torch.Tensor]
    data: FloatArray | None = None

    def __call__(self, model: Any, x: torch.Tensor) -> FloatArray:
        """Features of samples of a model, shape (n, d), float64."""
        pictures: NDArray[Any] = model.to_image(x)
        images = torch.from_numpy(2.0 * pictures - 1.0)
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        with torch.no_grad():
            found = [self.compute(part.float().contiguous()) for part in torch.split(images, 256)]
        return np.asarray(torch.cat(found).double().numpy(), dtype=np.float64)


def features_for(model: Any, source: Source = "auto") -> Features:
    """Features in which samples of a model are compared.

    Parameters
    ----------
    model : NetworkDenoiser
        The model; its name says which shipped network fits, its shape how many channels there are.
    source : {"auto", "inception", "shipped", "random"}
        ``"auto"`` takes Inception for colour images of 64 pixels and more where it is here, else the network that ships
        with the model, else a random one.

    Raises
    ------
    ValueError
        If the source is unknown, or none of it fits this model.
    ModuleNotFoundError
        If Inception is asked for and torch-fidelity is not installed.
    """
    if source not in get_args(Source):
        msg = f"features={source!r} is unknown: use one of {', '.join(get_args(Source))}"
        raise ValueError(msg)
    channels, *size = model.sample_shape
    if model.latents is not None:
        channels, size = 3, [8 * s for s in size]
    folder = toy_folder(model.name.removeprefix("toy/")) if model.name.startswith("toy/") else None
    file = None if folder is None else _file_of(folder)
    if source == "auto":
        large = channels == 3 and min(size) >= 64 and importlib.util.find_spec("torch_fidelity") is not None
        source = "inception" if large else "random" if file is None else "shipped"
    if source == "inception":
        return _inception(channels)
    if source == "random":
        return _random(channels)
    if file is None:
        msg = f"features='shipped': no feature network ships with {model.name}; use 'random'"
        raise ValueError(msg)
    return _shipped(file, channels)


def _file_of(folder: Path) -> Path | None:
    """Feature network of a model; variants of a model on the same images share one."""
    places = (folder / _FILE, folder.parent / folder.name.split("-")[0] / _FILE)
    return next((path for path in places if path.is_file()), None)


def _shipped(path: Path, channels: int) -> Features:
    try:
        tensors = load_file(path)
        data = tensors.pop("data")
        network = FeatureNet(channels, len(tensors["head.bias"]))
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except Exception as error:
        msg = f"{path}: not a feature network ({error}); restore it, or use 'random'."
        raise ModelFileError(msg) from error
    about = (
        f"penultimate layer ({DIMENSION} features, scaled to a mean square of 1 on the data) of a small classifier "
        "trained on the model's own training images; not Inception"
    )
    known, body = data.double().numpy(), network.eval().body
    size = float(np.sqrt(np.mean(known**2)))
    return Features("shipped", about, lambda images: body(images) / size, known / size)


def _random(channels: int) -> Features:
    """Network with normal weights of variance 1 / (inputs of a unit), the same for a number of channels everywhere."""
    network = FeatureNet(channels, 1)
    draws = np.random.Generator(np.random.Philox(channels))
    with torch.no_grad():
        for parameter in network.parameters():
            width = parameter[0].numel() if parameter.ndim > 1 else 1
            values = draws.standard_normal(tuple(parameter.shape)) * (2.0 / width) ** 0.5 * (parameter.ndim > 1)
            parameter.copy_(torch.from_numpy(values))
    about = f"{DIMENSION} features of a small convolutional network with random weights (seeded); not Inception"
    return Features("random", about, network.eval().body)


def _inception(channels: int) -> Features:
    if channels not in (1, 3):
        msg = f"features='inception' needs 1 or 3 channels, the images have {channels}; use 'random'"
        raise ValueError(msg)
    try:
        from torch_fidelity.utils import create_feature_extractor
    except ModuleNotFoundError as error:
        msg = "features='inception' needs torch-fidelity; install it with pip install torch-fidelity"
        raise ModuleNotFoundError(msg, name=error.name) from error
    network = create_feature_extractor("inception-v3-compat", ["2048"], cuda=False, verbose=False)

    def compute(images: torch.Tensor) -> torch.Tensor:
        bytes_ = ((images + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
        found: torch.Tensor = network(bytes_.expand(-1, 3, -1, -1))[0]
        return found

    return Features("inception", "2048 features of Inception (torch-fidelity, inception-v3-compat)", compute)
