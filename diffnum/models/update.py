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
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeAlias

import torch

from diffnum.plans import Plan

__all__ = ["compiled", "fused"]

BLOCK = 1 << 17
"""Elements of a block on the CPU: those of a handful of arrays fit the cache, and are worth a call of torch each."""

Values: TypeAlias = Mapping[str, Any]

Write: TypeAlias = Callable[[Sequence["_Row"], Values], None]
"""Compute rows into their buffers."""

Kernel: TypeAlias = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor], Sequence[Sequence[float]]], object]
"""``kernel(targets, sources, weights)`` for at most two targets and eight sources, of one size and memory format."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A linear combination with the buffer that takes it; None where it is another vector as it is."""

    target: str
    terms: tuple[tuple[str, Any], ...]
    buffer: torch.Tensor | None

    @property
    def scalar(self) -> bool:
        """Whether all weights are numbers."""
        return all(isinstance(weight, float) for _, weight in self.terms)


def fused(plan: Plan, like: torch.Tensor) -> Iterator[Sequence[Callable[[Values], dict[str, torch.Tensor]]]]:
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


def compiled(plan: Plan, like: torch.Tensor) -> Iterator[Sequence[Callable[[Values], dict[str, torch.Tensor]]]]:
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


def _groups(
    plan: Plan, like: torch.Tensor, write: Write
) -> Iterator[Sequence[Callable[[Values], dict[str, torch.Tensor]]]]:
    turns, count = _turns(plan)
    buffers = [torch.empty_like(like, memory_format=torch.preserve_format) for _ in range(count)]
    programme = [
        [
            _Row(
                target,
                tuple(
                    (name, weight if isinstance(weight, float) else _tensor(weight, like))
                    for name, weight in row.items()
                ),
                None if turn is None else buffers[turn],
            )
            for (target, row), turn in zip(rows, step, strict=True)
        ]
        for rows, step in zip(plan.programme, turns, strict=True)
    ]
    compute = _computing(write, like.dtype)
    for step, rows in zip(plan.steps, programme, strict=True):
        yield [partial(compute, [row]) for row in rows[: step.nfe]] + [partial(compute, rows[step.nfe :])]


def _tensor(weight: Any, like: torch.Tensor) -> torch.Tensor:
    """Element-wise weights where the state is."""
    return torch.tensor(weight, dtype=like.dtype, device=like.device)


# -- whose turn is which buffer ------------------------------------------------------------------------


def _turns(plan: Plan) -> tuple[list[list[int | None]], int]:
    """For each row of each step the number of its buffer, and how many there are.

    A buffer is free once no vector that a later row may read lies in it. An evaluation may be a view of the state
    where it was made, so that it keeps that state's buffer.
    """
    home: dict[str, int | None] = {}
    turns, count = [], 0
    for step, rows in zip(plan.steps, plan.programme, strict=True):
        taken = {home.get(name) for name in step.inputs}
        here: list[int | None] = []
        after: dict[str, int | None] = {}
        for number, (target, row) in enumerate(rows):
            buffer = None
            if _is_alias(row):
                lies = home.get(next(iter(row)))
            else:
                buffer = lies = next(i for i in range(count + 1) if i not in taken)
                count = max(count, buffer + 1)
                taken.add(buffer)
            here.append(buffer)
            if number < step.nfe:
                home[target] = lies
            else:
                after[target] = lies
        turns.append(here)
        home = after
    return turns, count


def _is_alias(row: Mapping[str, Any]) -> bool:
    """Whether a row is one vector as it is."""
    return len(row) == 1 and all(isinstance(w, float) and w == 1.0 and name != "one" for name, w in row.items())


# -- how rows are computed -----------------------------------------------------------------------------


def _computing(write: Write, dtype: torch.dtype) -> Callable[[list[_Row], Values], dict[str, torch.Tensor]]:
    """Function that computes rows, those that are other vectors as they are included."""
    grad = torch.no_grad if torch.is_grad_enabled() else nullcontext

    def compute(rows: list[_Row], values: Values) -> dict[str, torch.Tensor]:
        own = [row for row in rows if row.buffer is not None]
        if own:
            with grad():
                write(own, values)
        return {row.target: _given(row, values, dtype) if row.buffer is None else row.buffer for row in rows}

    return compute


def _given(row: _Row, values: Values, dtype: torch.dtype) -> torch.Tensor:
    """A vector as it is; only states need their dtype, a history may be of lower precision."""
    value: torch.Tensor = values[row.terms[0][0]]
    return value if row.target[0] == "m" or value.dtype == dtype else value.to(dtype)


def _one_by_one(rows: Sequence[_Row], values: Values) -> None:
    """Rows by in-place operations on whole tensors."""
    for row in rows:
        if row.buffer is not None:
            _write(row.buffer, [(values[name], weight) for name, weight in row.terms])


def _write(out: torch.Tensor, terms: Sequence[tuple[Any, Any]]) -> None:
    """``out = sum weight * value``, rounded to the dtype of ``out`` only."""
    if not terms:
        out.zero_()
        return
    (value, weight), *rest = terms
    if isinstance(value, float):
        out.fill_(value)
        out.mul_(weight)
    elif value.dtype != out.dtype:
        out.copy_(value)
        out.mul_(weight)
    elif isinstance(weight, float) and weight == 1.0 and rest and _addable(*rest[0]):
        torch.add(value, rest[0][0], alpha=rest[0][1], out=out)
        rest = rest[1:]
    else:
        torch.mul(value, weight, out=out)
    for value, weight in rest:
        if isinstance(weight, float):
            out.add_(value, alpha=weight)
        elif isinstance(value, float):
            out.add_(weight, alpha=value)
        else:
            out.addcmul_(value, weight)


def _addable(value: Any, weight: Any) -> bool:
    return isinstance(value, torch.Tensor) and isinstance(weight, float)


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
