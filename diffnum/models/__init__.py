"""Pretrained image models as denoisers; torch is imported when a name is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffnum.jobs.extras import found_or_explained

if TYPE_CHECKING:
    from diffnum.models.attention import perturbed_attention
    from diffnum.models.classifiers import NetworkClassifier, load_classifier
    from diffnum.models.denoiser import NetworkDenoiser
    from diffnum.models.gradients import Autograd
    from diffnum.models.loading.files import MissingModelError, ModelFileError
    from diffnum.models.loading.pretrained import load, model_ids
    from diffnum.models.loading.tokens import NetworkTokens, load_tokens
    from diffnum.models.loading.wrapping import from_k_diffusion, wrap
    from diffnum.models.update import compiled, fused
    from diffnum.models.update.graph import CapturedRun, capture

__all__ = [
    "Autograd",
    "CapturedRun",
    "MissingModelError",
    "ModelFileError",
    "NetworkClassifier",
    "NetworkDenoiser",
    "NetworkTokens",
    "capture",
    "compiled",
    "from_k_diffusion",
    "fused",
    "load",
    "load_classifier",
    "load_tokens",
    "model_ids",
    "perturbed_attention",
    "wrap",
]

_HOMES = {
    "NetworkClassifier": "classifiers",
    "load_classifier": "classifiers",
    "perturbed_attention": "attention",
    "Autograd": "gradients",
    "CapturedRun": "update.graph",
    "capture": "update.graph",
    "compiled": "update",
    "fused": "update",
    "NetworkDenoiser": "denoiser",
    "MissingModelError": "loading.files",
    "ModelFileError": "loading.files",
    "from_k_diffusion": "loading.wrapping",
    "NetworkTokens": "loading.tokens",
    "load": "loading.pretrained",
    "load_tokens": "loading.tokens",
    "model_ids": "loading.pretrained",
    "wrap": "loading.wrapping",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return found_or_explained(f"{__name__}.{_HOMES[name]}", name, f"dn.models.{name}")


def __dir__() -> list[str]:
    return sorted(__all__)
