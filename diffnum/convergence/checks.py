"""What a sampler must do before its order can be spoken of: shape, dtype, finite, repeatable, and it asks its model."""

from __future__ import annotations

import inspect
import random
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from diffnum.convergence.oracle import AskedByNoiseLevel, Oracle
from diffnum.types import Array, FloatArray, Prediction, Sampler

__all__ = ["SamplerError", "called", "check_repeats", "check_sampler", "check_signature", "name_of"]

STEPS = 8
SCALED = 1.01
"""Factor on the answers of a model that is not the exact one; a sampler that heeds its model gives another sample."""

OWN_NOISE = 1e-4
"""Share of the result by which equal points may end apart: rounding in single precision stays below."""


FORGOTTEN = 0.01
"""Factor by which what a sampler keeps of earlier runs falls while it is shown nothing but zeros."""


class _Watched(AskedByNoiseLevel):
    """An oracle that counts its calls, and whose answers can be scaled."""

    def __init__(self, oracle: Oracle, factor: float = 1.0) -> None:
        self.schedule, self.interval = oracle.schedule, oracle.interval
        self.calls = 0
        self._oracle, self._factor = oracle, factor

    def predict(self, x: Array, lam: float, prediction: Prediction) -> FloatArray:
        """Prediction at a half-log-SNR."""
        self.calls += 1
        return self._factor * self._oracle.predict(x, lam, prediction)


def check_sampler(sampler: Sampler, oracle: Oracle) -> None:
    """Refuse a sampler that breaks the convention, with a message that says how.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes) -> x``.
    oracle : Oracle
        Exact model; the sampler is run on it five times, with eight steps each.

    Raises
    ------
    TypeError
        If the sampler does not return an array, or one of another dtype than ``x``.
    ValueError
        If it raises an exception of its own, returns another shape or what is not finite, writes into ``x`` or
        ``nodes``, is random (from one run to the next, or by a seed of its own), never calls the model, or ignores
        what the model returns.
    """
    name = name_of(sampler)
    check_signature(name, sampler)
    nodes = np.linspace(*oracle.interval, STEPS + 1)
    x = oracle.state(float(nodes[0]))
    first, calls = _run(name, sampler, _Watched(oracle), x, nodes)
    again, _ = _run(name, sampler, _Watched(oracle), x, nodes)
    if not np.array_equal(first, again):
        apart = f"two runs on the same input differ by {np.max(np.abs(first - again)):.3g}"
        if _remembers(name, sampler, oracle, x, nodes):
            msg = (
                f"{name} remembers its last run: {apart}, though it adds no noise; let it begin every run afresh, "
                "with no history, counter or cache of an earlier one"
            )
            raise ValueError(msg)
        msg = f"{name} is random: {apart}; turn its noise off (eta = 0)"
        raise ValueError(msg)
    if not calls:
        msg = f"{name} never calls the model: ask model.data(x, lam), .noise, .velocity or .score"
        raise ValueError(msg)
    other, _ = _run(name, sampler, _Watched(oracle, SCALED), x, nodes)
    if np.array_equal(first, other):
        msg = (
            f"{name} ignores the model: it calls it {calls} times on {STEPS} steps, but returns the same sample "
            "whatever the model answers"
        )
        raise ValueError(msg)
    spread = _spread(name, sampler, _Watched(oracle, 0.0), np.zeros_like(x), nodes)
    if spread > OWN_NOISE * float(np.abs(first).max()):
        msg = (
            f"{name} adds noise of its own: equal points and a model that answers 0 become points that differ by "
            f"{spread:.3g}; a seed inside makes that repeatable and no less random: turn the noise off (eta = 0)"
        )
        raise ValueError(msg)


LONG = 252
"""Steps of the runs that are repeated, where some schedulers begin to draw noise."""


def check_repeats(sampler: Sampler, oracle: Oracle) -> None:
    """Refuse a sampler that draws noise on long runs, where its schedule switches noise on.

    Parameters
    ----------
    sampler : callable
        ``sampler(model, x, nodes) -> x``; it has passed :func:`check_sampler`.
    oracle : Oracle
        Exact model; the sampler is run on it twice.

    Raises
    ------
    ValueError
        If two runs on the same input differ.
    """
    nodes = np.linspace(*oracle.interval, LONG + 1)
    x = oracle.state(float(nodes[0]))
    first, again = (np.asarray(called(sampler, oracle, x.copy(), nodes.copy())) for _ in range(2))
    if not np.array_equal(first, again, equal_nan=True):
        msg = (
            f"{name_of(sampler)} is random on long runs: two runs of {LONG} steps differ by "
            f"{np.max(np.abs(first - again)):.3g}, two of {STEPS} do not; turn its noise off at all times (eta = 0, "
            "tau_func=lambda t: 0), or leave its drift with silent=True"
        )
        raise ValueError(msg)


def check_signature(name: str, sampler: Sampler) -> None:
    """Refuse a function that cannot take what samplers are called with."""
    if isinstance(inspect.unwrap(sampler), type):
        msg = f"{name} is a class, and no scheduler: pass an object of it that is called as sampler(model, x, nodes)"
        raise TypeError(msg)
    try:
        signature = inspect.signature(sampler)
    except ValueError:  # of a function that is not written in Python
        return
    try:
        signature.bind("model", "x", "nodes")
    except TypeError as error:
        msg = (
            f"{name}{signature} cannot be called as sampler(model, x, nodes) ({error}): write a function of a model, "
            "a state and nodes of half-log-SNR that returns the last state, or say how it is called with convention="
        )
        raise TypeError(msg) from None


def _spread(name: str, sampler: Sampler, model: _Watched, x: FloatArray, nodes: FloatArray) -> float:
    """How far apart equal points end; 0 where the sampler cannot run on them."""
    try:
        ends, _ = _run(name, sampler, model, x, nodes)
    except (TypeError, ValueError):
        return 0.0
    return float(np.ptp(ends, axis=0).max())


class SamplerError(ValueError):
    """A sampler raised an exception, or left the program."""


def name_of(sampler: Any) -> str:
    """Name of a sampler in sentences."""
    return str(getattr(sampler, "__name__", type(sampler).__name__))


def called(sampler: Sampler, model: Any, x: FloatArray, nodes: FloatArray) -> Any:
    """Result of a sampler.

    Raises
    ------
    ValueError
        If it raises an exception, with its type and place, or leaves the program. What an adapter raises passes.
    """
    name = name_of(sampler)
    try:
        return sampler(model, x, nodes)
    except SystemExit as error:
        msg = f"{name} leaves the program with sys.exit({error.code!r}): let it return its sample, or raise"
        raise SamplerError(msg) from error
    except KeyboardInterrupt:  # the user's, or the end of the time
        raise
    except (TypeError, ValueError) as error:
        if str(error).startswith(name):  # an adapter has said it already
            raise
        raise _raised(name, error, x, nodes) from error
    except BaseException as error:  # GeneratorExit, or one of the sampler's own
        raise _raised(name, error, x, nodes) from error


def _remembers(name: str, sampler: Sampler, oracle: Oracle, x: FloatArray, nodes: FloatArray) -> bool:
    """Whether runs differ by what is left of the run before, and not by noise.

    A sampler that keeps a history makes zero of zero as that history becomes zero; one that adds noise never does. The
    generators of numpy and torch that it may draw from stay where they are if it draws nothing.
    """
    before = _generators()
    silent = _Watched(oracle, 0.0)
    ends = [_run(name, sampler, silent, 0.0 * x, nodes)[0] for _ in range(5)]
    forgets = np.abs(ends[-1]).max() <= FORGOTTEN * np.abs(ends[0]).max()
    return bool(forgets) and _generators() == before


def _generators() -> tuple[bytes, ...]:
    """State of the global random generators, of torch where it is loaded."""
    torch = sys.modules.get("torch")
    states = [repr(np.random.get_state(legacy=False)).encode(), repr(random.getstate()).encode()]  # noqa: NPY002
    return (*states, *([] if torch is None else [torch.get_rng_state().numpy().tobytes()]))


def _run(name: str, sampler: Sampler, model: _Watched, x: FloatArray, nodes: FloatArray) -> tuple[FloatArray, int]:
    """One run, checked for what can be seen in one run."""
    given, given_nodes = x.copy(), nodes.copy()
    result = called(sampler, model, given, given_nodes)
    if not np.array_equal(given_nodes, nodes):
        msg = f"{name} writes into its input nodes: let it work on a copy"
        raise ValueError(msg)
    if inspect.iscoroutine(result):
        result.close()
    if result is None or not (hasattr(result, "shape") and hasattr(result, "dtype")):
        msg = f"{name} returned a {type(result).__name__}: it must return an array like x"
        raise TypeError(msg)
    if tuple(result.shape) != x.shape:
        msg = f"{name} returned shape {tuple(result.shape)}: it must return that of x, {x.shape}"
        raise ValueError(msg)
    dtype = str(result.dtype).removeprefix("torch.")
    if dtype != str(x.dtype):
        msg = f"{name} returned dtype {dtype}: x has {x.dtype}, and the order is hidden by rounding below it"
        raise TypeError(msg)
    found = np.asarray(result)
    if not np.isfinite(found).all():
        count = int(np.sum(~np.isfinite(found)))
        msg = (
            f"{name} returned {count} numbers of {found.size} that are NaN or infinite, from finite input and "
            f"{len(nodes) - 1} steps"
        )
        raise ValueError(msg)
    if not np.array_equal(given, x):
        msg = f"{name} writes into its input x: let it work on a copy"
        raise ValueError(msg)
    return found, model.calls


def _raised(name: str, error: BaseException, x: FloatArray, nodes: FloatArray) -> SamplerError:
    """What a sampler raised, and where, in one line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    given = "" if last.name != "called" else "; it must take three arguments (model, x, nodes)"
    return SamplerError(
        f"{name} raises {type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno}), "
        f"called with a model, x of shape {'(points, d)' if x.ndim == 2 else x.shape} and {len(nodes)} nodes{given}"
    )
