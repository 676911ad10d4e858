"""Where the fit of a network runs: torch, forward derivatives of many tangents at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from diffnum.calibration.sensitivities import DERIVATIVES, Differentiable, Native, Pull, run, time_difference
from diffnum.calibration.weights import Numbers
from diffnum.guidance import Guided
from diffnum.plans.identity import identity_of
from diffnum.solver.noise import start_noise
from diffnum.types import FloatArray, Prediction

__all__ = [
    "DifferencedNetwork",
    "ForwardNetwork",
    "NetworkHost",
    "differentiated",
    "push_features",
]

_TANGENTS = 16
"""Tangents that go through a network at once: more need more memory and are hardly faster."""


class _PlainNorms(TorchFunctionMode):
    """Group normalisation written out: the fused one has no forward derivative for every layout of memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace one function."""
        if func is functional.group_norm or func is torch.group_norm:
            return _group_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _group_norm(
    x: torch.Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> torch.Tensor:
    grouped = x.reshape(x.shape[0], num_groups, -1)
    centred = grouped - grouped.mean(-1, keepdim=True)
    result = (centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + eps)).reshape(x.shape)
    column = (1, x.shape[1], *(1,) * (x.ndim - 2))
    if weight is not None:
        result = result * weight.reshape(column)
    return result if bias is None else result + bias.reshape(column)


@contextmanager
def differentiated() -> Iterator[None]:
    """Operations that forward mode knows: plain attention, plain norms; no graph is built."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), _PlainNorms():
        yield


_Product = TypeVar("_Product")


@dataclass(frozen=True, eq=False)
class ForwardNetwork:
    """A network with forward derivatives (``torch.func.jvp`` under ``torch.vmap``)."""

    model: Any

    def push(self, x: torch.Tensor, t: float, tangents: torch.Tensor) -> torch.Tensor:
        """Derivatives along tangents, shape (p, *x.shape)."""

        def along(v: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = torch.func.jvp(lambda state: self.model(state, t), (x,), (v,))[1]
            return found

        with differentiated():
            return _guarded(self.model, "forward", lambda: torch.vmap(along, chunk_size=_TANGENTS)(tangents))

    def rate(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """Derivative by time."""
        time = torch.tensor(t, dtype=torch.float64)

        def product() -> torch.Tensor:
            found: torch.Tensor = torch.func.jvp(lambda s: self.model(x, s), (time,), (torch.ones_like(time),))[1]
            return found

        with differentiated():
            return _guarded(self.model, "forward", product)


def _guarded(model: Any, way: str, product: Callable[[], _Product]) -> _Product:
    """A product with derivatives; a network that has none is refused."""
    try:
        return product()
    except (RuntimeError, NotImplementedError, TypeError) as error:
        if "memory" in str(error):
            raise
        msg = (
            f"model {getattr(model, 'name', type(model).__name__)} has no {way} derivatives in torch "
            f'({str(error).splitlines()[0]}): use derivatives="differences"'
        )
        raise ValueError(msg) from error


@dataclass(frozen=True, eq=False)
class DifferencedNetwork:
    """A network differentiated by central differences: two evaluations a tangent, for any network."""

    model: Any

    def push(self, x: torch.Tensor, t: float, tangents: torch.Tensor) -> torch.Tensor:
        """Derivatives along tangents."""
        reach = torch.finfo(x.dtype).eps ** (1 / 3) * float(x.square().mean().sqrt())
        found = []
        for v in tangents:
            step = reach / max(float(v.square().mean().sqrt()), torch.finfo(x.dtype).tiny * 1e10)
            found.append((self.model(x + step * v, t) - self.model(x - step * v, t)) / (2 * step))
        return torch.stack(found)

    def rate(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """Derivative by time."""
        found: torch.Tensor = time_difference(self.model, x, t, torch.finfo(x.dtype).eps ** (1 / 3))
        return found


_WAYS: Mapping[str, Callable[[Any], Differentiable]] = {
    "forward": ForwardNetwork,
    "differences": DifferencedNetwork,
    "reverse": DifferencedNetwork,
}
"""What does it, for each of the ways."""


@dataclass(frozen=True, eq=False)
class NetworkHost:
    """Networks of the package, also guided ones.

    Parameters
    ----------
    model : NetworkDenoiser or Guided
        The network.
    derivatives : {"forward", "differences", "reverse"}
        How it is differentiated.
    label : int, "each" or None
        Condition of every sample; "each" for all classes in turn.

    Raises
    ------
    ValueError
        If the way is unknown, or the network has no such labels.
    """

    model: Any
    derivatives: str = "forward"
    label: Any = None

    def __post_init__(self) -> None:
        if self.derivatives not in DERIVATIVES:
            msg = f"derivatives={self.derivatives!r} is unknown: use one of {', '.join(DERIVATIVES)}"
            raise ValueError(msg)
        if self.label is not None and self.model.num_classes is None:
            msg = f"label={self.label!r}: {self.model.name} has no labels; leave label out"
            raise ValueError(msg)
        labels = getattr(self.model, "labels", None)
        if labels is not None and labels.ndim:
            msg = f"model is bound to {len(labels)} labels, one a sample: bind one for all, or give label='each'"
            raise ValueError(msg)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.model.sample_shape)

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the states."""
        half = self.model.dtype in (torch.float16, torch.bfloat16)
        return torch.float32 if half else self.model.dtype

    @property
    def itemsize(self) -> int:
        """Bytes a number."""
        return self.dtype.itemsize

    def noise(self, seed: int, first: int, count: int) -> torch.Tensor:
        """Draws on the device of the network."""
        return self.array(start_noise(count, self.shape, seed, first=first))

    def part(self, first: int, count: int) -> Any:
        """The network with the labels of these samples."""
        if self.label is None:
            return self.model
        if self.label == "each":
            return self.model.conditioned([i % self.model.num_classes for i in range(first, first + count)])
        return self.model.conditioned(self.label)

    def differentiable(self, model: Any) -> Differentiable:
        """Network with its derivatives."""
        return _WAYS[self.derivatives](model)

    def pull(
        self, part: Any, prediction: Prediction, numbers: Numbers, x: torch.Tensor, cotangent: torch.Tensor
    ) -> torch.Tensor:
        """By reverse differentiation."""
        native = Native(DifferencedNetwork(_with_graph(part)), prediction)
        with torch.enable_grad():
            start = x.detach().requires_grad_()
            *_, end = run(native, numbers, start)
            (found,) = _guarded(part, "reverse", lambda: torch.autograd.grad(end, start, cotangent))
        return found

    def reversed_run(
        self, part: Any, prediction: Prediction, numbers: Numbers, x: torch.Tensor
    ) -> tuple[torch.Tensor, Pull]:
        """Run with the graph kept; every sample has the sampler's numbers to itself, so that they are told apart."""
        native = Native(self.differentiable(_with_graph(part)), prediction)
        n, count = len(numbers.t), len(x)
        beside = (count, *(1,) * (x.ndim - 1))

        def leaf(value: float, dtype: torch.dtype) -> torch.Tensor:
            return torch.full((count,), float(value), dtype=dtype, device=x.device, requires_grad=True)

        carry = [leaf(value, x.dtype) for value in numbers.carry]
        weights = [leaf(numbers.weights[i, j], x.dtype) for i in range(n) for j in range(i + 1)]
        times = [leaf(t, torch.float64) for t in numbers.t]
        factors = [[leaf(value, x.dtype) for value in native.factors(float(t))] for t in numbers.t]
        with torch.enable_grad():
            mean, state, values = native.mean(x), x, []
            for i, (p, q, shift) in enumerate(factors):
                own = native.inner.model(state + mean, times[i]) - shift.reshape(beside) * mean
                values.append(p.reshape(beside) * state + q.reshape(beside) * own)
                state = carry[i].reshape(beside) * state
                for j, value in enumerate(values):
                    state = state + weights[i * (i + 1) // 2 + j].reshape(beside) * value
        leaves = [*carry, *weights, *times, *(one for three in factors for one in three)]
        rates = np.array([native.factor_rates(float(t)) for t in numbers.t])

        def pull(cotangent: torch.Tensor) -> Numbers:
            found = _guarded(
                part,
                "reverse",
                lambda: torch.autograd.grad(
                    state, leaves, cotangent, retain_graph=True, allow_unused=True, materialize_grads=True
                ),
            )
            columns = np.stack([self.numpy(one) for one in found], axis=1)
            by_carry, by_weights, by_t, by_factors = np.split(columns, np.cumsum([n, len(weights), n]), axis=1)
            square = np.zeros((count, n, n))
            square[:, *np.tril_indices(n)] = by_weights
            by_t = by_t + (by_factors.reshape(count, n, 3) * rates).sum(axis=2)
            return Numbers(by_carry, square, by_t, np.zeros((count, n + 1)))

        return state.detach(), pull

    def array(self, values: FloatArray) -> torch.Tensor:
        """Tensor of the network's dtype, on its device."""
        return torch.from_numpy(np.array(values, dtype=np.float64)).to(device=self.model.device, dtype=self.dtype)

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """Values rounded to bfloat16."""
        return x.to(torch.bfloat16).to(x.dtype)

    def numpy(self, x: torch.Tensor) -> FloatArray:
        """Values in float64 on the CPU."""
        return np.asarray(x.detach().to("cpu", torch.float64).numpy())

    def identity(self) -> dict[str, Any]:
        """Name, digest of all parameters and buffers, condition and guidance."""
        label = {} if self.label is None else {"label": self.label}
        return identity_of(self.model) | label


def _with_graph(model: Any) -> Any:
    """Network that builds a graph, guided or not."""
    if isinstance(model, Guided):
        return replace(model, main=_with_graph(model.main))
    return model.with_gradients()


def push_features(
    features: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, along: torch.Tensor
) -> torch.Tensor:
    """Derivatives of a function of states along tangents."""
    with differentiated():
        found: torch.Tensor = torch.vmap(lambda v: torch.func.jvp(features, (x,), (v,))[1], chunk_size=_TANGENTS)(along)
    return found
