"""Samplers that are not ours: how they are called, in which picture, and in which precision."""

from __future__ import annotations

from typing import Any

from diffnum.foreign.conventions import CONVENTIONS, Convention, convention_of
from diffnum.types import Sampler

__all__ = ["CONVENTIONS", "Convention", "convention_of", "understood", "with_noise"]


def understood(sampler: Any, convention: Convention | None = None, **options: Any) -> Sampler:
    """Sampler as ``sampler(model, x, nodes)``, whatever its convention.

    Parameters
    ----------
    sampler : callable, or scheduler object or class
        What to call.
    convention : {"nodes", "k-diffusion", "diffusers", "flow"}, optional
        How; by default guessed, see :func:`convention_of`, and "nodes" where the parameters do not tell.
    **options
        Further arguments of :func:`diffnum.audits.adapt`, for foreign conventions.

    Returns
    -------
    callable

    Raises
    ------
    TypeError, ValueError
        If the sampler is no sampler, the convention unknown, or options are given where nothing takes them.
    """
    convention = _named(sampler, convention)
    if convention != "nodes":
        try:
            from diffnum.foreign.adapters import adapt  # torch is loaded for foreign samplers only
        except ModuleNotFoundError as error:
            raise _without_torch(sampler, convention, error) from None
        return adapt(sampler, convention, **options)
    if not callable(sampler):
        msg = f"sampler={sampler!r} is a {type(sampler).__name__}: pass a callable or a scheduler"
        raise TypeError(msg)
    if options:
        msg = f"options {', '.join(options)} go with foreign conventions: bind them, with functools.partial"
        raise ValueError(msg)
    return sampler  # type: ignore[no-any-return]


def with_noise(sampler: Any, convention: Convention | None = None, **options: Any) -> Any:
    """Sampler that draws noise as ``sampler(model, x, nodes, noise)``, whatever its convention.

    Parameters
    ----------
    sampler, convention, **options
        As in :func:`understood`.

    Returns
    -------
    callable
        With the draws between two half-log-SNRs as its last argument; see :mod:`diffnum.foreign.draws`.

    Raises
    ------
    TypeError, ValueError
        If the sampler is no sampler, or the convention unknown.
    """
    convention = _named(sampler, convention)
    if convention == "nodes":
        return sampler
    try:
        from diffnum.foreign.draws import drawing
    except ModuleNotFoundError as error:
        raise _without_torch(sampler, convention, error) from None
    return drawing(sampler, convention, **options)


def _named(sampler: Any, convention: Convention | None) -> Convention:
    """Convention that is given or guessed; that of the study where the parameters do not tell."""
    if convention is None:
        try:
            return convention_of(sampler)
        except ValueError:
            return "nodes"
    if convention not in CONVENTIONS:
        msg = f"convention={convention!r} is unknown: use one of {', '.join(CONVENTIONS)}"
        raise ValueError(msg)
    return convention


def _without_torch(sampler: Any, convention: Convention, error: ModuleNotFoundError) -> ModuleNotFoundError:
    name = getattr(sampler, "__name__", type(sampler).__name__)
    msg = (
        f"{name} is called as samplers of {convention!r} are, which get torch tensors, and {error.name} is not "
        "installed: pip install torch, or pass convention='nodes' if it takes half-log-SNRs"
    )
    return ModuleNotFoundError(msg, name=error.name)
