"""Linear combinations of tensors in one pass over memory, into buffers that a run uses again and again.

A run of a plan with ``combine=fused`` allocates its memory before the first step: the state and the history live in a
few buffers whose turns are worked out from the plan. On the CPU all rows of a step are computed block by block, so that
every tensor crosses the memory bus once; on CUDA by one Triton kernel where Triton is there, by in-place operations of
torch where it is not. With ``combine=compiled`` torch compiles a kernel, which pays on large states.
Nothing waits for the device, so that a run can be captured in a CUDA graph (:func:`diffnum.models.capture`).

>>> import torch, diffnum as dn
>>> schedule = dn.schedules.VPLinear()
>>> model = dn.problems.three_peaks().denoiser(schedule)
>>> grid = dn.grids.uniform_half_log_snr(schedule, n=10, t_start=1.0, t_end=1e-3)
>>> x = dn.solve(dn.plan("dpmpp_2m", schedule, grid), model, torch.zeros(4, 1), combine=dn.models.fused)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple, TypeAlias

import torch

from diffnum.plans import Plan
from diffnum.solver import Group, is_state

__all__ = ["compiled", "fused"]

BLOCK = 1 << 17
"""Elements of a block on the CPU: those of a handful of arrays fit the cache, and are worth a call of torch each."""

Values: TypeAlias = Mapping[str, Any]

Write: TypeAlias = Callable[[Sequence["_Row"], Values], None]
"""Compute rows into their buffers."""

Kernel: TypeAlias = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor], Sequence[Sequence[float]]], object]
"""``kernel(targets, sources, weights)`` for at most two targets and eight sources, of one size and memory format."""


class _Row(NamedTuple):
    """A linear combination with the buffer that takes it; None where it is another vector as it is."""

    target: str
    terms: tuple[tuple[str, Any], ...]
    buffer: torch.Tensor | None

    @property
    def scalar(self) -> bool:
        """Whether all weights are numbers."""
        return all(isinstance(weight, float) for _, weight in self.terms)


def fused(plan: Plan, like: torch.Tensor) -> Iterator[tuple[Sequence[Group | None], Group]]:
    """Linear combinations of a run in preallocated buffers; pass it as ``combine=`` to :func:`diffnum.solve`.

    States that the run yields are good until its next step; the last one stays, since every run has its own buffers.
    Models of half precision may answer a float32 state: their values are kept as they are and summed in float32.
    Memory formats, such as channels last, are those of ``like``.

    Parameters
    ----------
    plan : Plan
        Numbers of the run.
    like : tensor, shape (batch, ...)
        Initial sample: shape, dtype, device and memory format of all states.

    Raises
    ------
    TypeError
        If ``like`` is no tensor.
    ValueError
        If ``like`` requires gradients: buffers that are written again cannot be differentiated through.
    """
    _check(like)
    single = like.dtype == torch.float32
    write = _in_blocks if like.device.type == "cpu" and like.numel() > 2 * BLOCK else _one_by_one
    return _groups(plan, like, partial(_in_kernel, _triton_kernel) if like.is_cuda and single else write)


def compiled(plan: Plan, like: torch.Tensor) -> Iterator[tuple[Sequence[Group | None], Group]]:
    """:func:`fused` with a kernel by ``torch.compile``: one for each number of sources, compiled at its first use.

    Parameters
    ----------
    plan, like
        As in :func:`fused`.

    Raises
    ------
    TypeError, ValueError
        As :func:`fused`.
    """
    _check(like)
    return _groups(plan, like, partial(_in_kernel, _compiled_kernel))


def _check(like: torch.Tensor) -> None:
    """Refuse what has no buffers."""
    if not isinstance(like, torch.Tensor):
        raise TypeError(f"x is a {type(like).__name__}: fused combinations are for torch tensors, leave combine out")
    if like.requires_grad and torch.is_grad_enabled():
        raise ValueError("x requires gradients, and buffers that are written again have none: leave combine out")


def _groups(plan: Plan, like: torch.Tensor, write: Write) -> Iterator[tuple[Sequence[Group | None], Group]]:
    turns, count = plan.buffers
    buffers = [torch.empty_like(like, memory_format=torch.preserve_format) for _ in range(count)]
    programme = [
        [
            _Row(target, _terms(row, like), None if turn is None else buffers[turn])
            for (target, row), turn in zip(rows, step, strict=True)
        ]
        for rows, step in zip(plan.programme, turns, strict=True)
    ]
    if torch.is_grad_enabled():
        write = torch.no_grad()(write)
    for step, rows, numbers in zip(plan.steps, programme, plan.programme, strict=True):
        stages = [
            None if is_state(number) else _group([row], write, like.dtype)
            for number, row in zip(numbers[: step.nfe], rows, strict=False)
        ]
        yield stages, _group(rows[step.nfe :], write, like.dtype)


def _terms(row: Mapping[str, Any], like: torch.Tensor) -> tuple[tuple[str, Any], ...]:
    """Weights as they are used: numbers, or tensors where the state is."""
    return tuple((name, w if isinstance(w, float) else _tensor(w, like)) for name, w in row.items())


def _tensor(weight: Any, like: torch.Tensor) -> torch.Tensor:
    """Element-wise weights where the state is."""
    return torch.tensor(weight, dtype=like.dtype, device=like.device)


# -- how rows are computed -----------------------------------------------------------------------------


def _group(rows: Sequence[_Row], write: Write, dtype: torch.dtype) -> Group:
    """Function that computes rows, those that are other vectors as they are included."""
    own = [row for row in rows if row.buffer is not None]
    made = {row.target: row.buffer for row in rows if row.buffer is not None}
    # only states need their dtype, a history may be of lower precision
    given = [(row.target, row.terms[0][0], row.target[0] != "m") for row in rows if row.buffer is None]

    def compute(values: Values) -> dict[str, torch.Tensor]:
        if own:
            write(own, values)
        found = made.copy()
        for target, name, state in given:
            value = values[name]
            found[target] = value.to(dtype) if state and value.dtype != dtype else value
        return found

    return compute


def _one_by_one(rows: Sequence[_Row], values: Values) -> None:
    """Rows by in-place operations on whole tensors."""
    for _, terms, out in rows:
        if out is not None:
            _write(out, terms, values)


def _write(out: torch.Tensor, terms: Sequence[tuple[str, Any]], values: Values) -> None:
    """``out = sum weight * value``, rounded to the dtype of ``out`` only."""
    if not terms:
        out.zero_()
        return
    (name, weight), *rest = terms
    value = values[name]
    if name == "one":
        out.fill_(value)
        out.mul_(weight)
    elif value.dtype != out.dtype:
        out.copy_(value)
        out.mul_(weight)
    else:
        torch.mul(value, weight, out=out)
    for name, weight in rest:
        value = values[name]
        if isinstance(weight, float):
            out.add_(value, alpha=weight)
        elif name == "one":
            out.add_(weight, alpha=value)
        else:
            out.addcmul_(value, weight)


def _in_blocks(rows: Sequence[_Row], values: Values) -> None:
    """All rows block by block: a block of each tensor is read from memory once, whatever the number of operations."""
    flat = _flat(rows, values)
    if flat is None:
        _one_by_one(rows, values)
        return
    blocks = {key: torch.split(tensor, BLOCK) for key, tensor in flat.items()}
    script = [(blocks[row.target, True], [(blocks[name, False], weight) for name, weight in row.terms]) for row in rows]
    for i in range(len(script[0][0])):
        for target, ((first, scale), *rest) in script:
            out = torch.mul(first[i], scale, out=target[i])
            for source, weight in rest:
                out.add_(source[i], alpha=weight)


def _flat(rows: Sequence[_Row], values: Values, *, mixed: bool = False) -> dict[tuple[str, bool], torch.Tensor] | None:
    """Buffers by (target, True) and vectors by (name, False), one-dimensional.

    None where the rows are more than sums of numbers times vectors of the memory format of the buffers, and of their
    dtype unless ``mixed``.
    """
    found: dict[tuple[str, bool], Any] = {(row.target, True): row.buffer for row in rows}
    like = rows[0].buffer
    for row in rows:
        if not row.terms or not row.scalar:
            return None
        found.update({(name, False): values[name] for name, _ in row.terms})
    if like is None or any(
        not isinstance(t, torch.Tensor)
        or t.stride() != like.stride()
        or t.shape != like.shape
        or not (mixed or t.dtype == like.dtype)
        for t in found.values()
    ):
        return None
    size = like.numel()
    return {key: torch.as_strided(tensor, (size,), (1,)) for key, tensor in found.items()}


def _in_kernel(make: Callable[[], Kernel | None], rows: Sequence[_Row], values: Values) -> None:
    """All rows by one kernel, or one by one where it cannot be used."""
    flat, kernel = _flat(rows, values, mixed=True), make()
    names = list(dict.fromkeys(name for row in rows for name, _ in row.terms))
    if flat is None or kernel is None or len(names) > 8:
        _one_by_one(rows, values)
        return
    sources = [flat[name, False] for name in names]
    for begin in range(0, len(rows), 2):
        pair = rows[begin : begin + 2]
        weights = [[dict(row.terms).get(name, 0.0) for name in names] for row in pair]
        kernel([flat[row.target, True] for row in pair], sources, weights)


@cache
def _triton_kernel() -> Kernel | None:
    """The kernel of :mod:`diffnum.models.kernel`, tried once; None where Triton is missing or does not work."""
    try:
        from diffnum.models.kernel import combine

        probe = torch.ones(4, device="cuda")
        combine([torch.empty_like(probe)], [probe, probe], [[2.0, 0.5]])
    except Exception as error:
        warnings.warn(f"the update runs without a Triton kernel ({error})", RuntimeWarning, stacklevel=2)
        return None
    return combine  # type: ignore[no-any-return, unused-ignore]


@cache
def _compiled_kernel() -> Kernel:
    """The same by ``torch.compile``."""

    def combine(
        targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor], weights: Sequence[Sequence[float]]
    ) -> None:
        wide = [source.to(targets[0].dtype) for source in sources]
        for target, row in zip(targets, weights, strict=True):
            total = row[0] * wide[0]
            for weight, source in zip(row[1:], wide[1:], strict=True):
                total = total + weight * source
            target.copy_(total)

    return torch.compile(combine, dynamic=True, fullgraph=True)
