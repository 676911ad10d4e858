"""Linear combinations of tensors in one pass over memory, into buffers that a run uses again and again.

A run of a plan with ``combine=fused`` allocates its memory before the first step: the state and the history live in a
few buffers whose turns are worked out from the plan, many of them updated in place. On the CPU all rows of a step are
computed block by block, so that every tensor crosses the memory bus once; on CUDA by one Triton kernel where Triton is
there, by in-place operations of torch where it is not. With ``combine=compiled`` the CPU has a kernel too, which a C++
compiler builds once. Nothing waits for the device, so that a run can be captured in a CUDA graph
(:func:`diffnum.models.capture`).

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
from typing import Any, TypeAlias

import torch

from diffnum.plans import Plan
from diffnum.plans.buffers import Part, UpdateRow
from diffnum.solver import Group

__all__ = ["compiled", "fused"]

BLOCK = 1 << 18
"""Elements of a block on the CPU: those of a handful of arrays fit the cache, and are worth a call of torch each."""

Buffers: TypeAlias = Sequence[torch.Tensor]

Values: TypeAlias = Mapping[str, Any]

Terms: TypeAlias = Sequence[tuple[str, Any]]

Write: TypeAlias = Callable[[Buffers, Part, Values], None]
"""Compute the rows of a part of a step into their buffers."""

Kernel: TypeAlias = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor], Sequence[Sequence[float]]], object]
"""``kernel(targets, sources, weights)`` for at most two targets and eight sources; a target may be a source, too."""


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

    Returns
    -------
    iterator

    Raises
    ------
    TypeError
        If ``like`` is no tensor.
    ValueError
        If ``like`` requires gradients: buffers that are written again cannot be differentiated through.
    """
    _check(like)
    kernel = _triton_kernel() if like.is_cuda and like.dtype == torch.float32 else None
    if kernel is not None:
        return _groups(plan, like, partial(_in_kernel, kernel, False))
    return _groups(plan, like, _in_blocks if like.device.type == "cpu" and like.numel() > BLOCK else _one_by_one)


def compiled(plan: Plan, like: torch.Tensor) -> Iterator[tuple[Sequence[Group | None], Group]]:
    """:func:`fused` with a kernel for the CPU: all rows of a step by one call, in one pass over memory.

    A C++ compiler builds the kernel at its first use, in less than a minute, into the user's cache folder. On other
    devices, and for states of half precision, this is :func:`fused`.

    Parameters
    ----------
    plan, like
        As in :func:`fused`.

    Returns
    -------
    iterator

    Raises
    ------
    TypeError, ValueError
        As :func:`fused`.
    RuntimeError
        If there is no C++ compiler, or it fails.
    """
    _check(like)
    if like.device.type != "cpu" or like.dtype not in (torch.float32, torch.float64):
        return fused(plan, like)
    from diffnum.models.update import native

    return _groups(plan, like, partial(_in_kernel, native.kernel(), True))


def _check(like: torch.Tensor) -> None:
    """Refuse what has no buffers."""
    if not isinstance(like, torch.Tensor):
        msg = f"x is a {type(like).__name__}: fused combinations are for torch tensors, leave combine out"
        raise TypeError(msg)
    if like.requires_grad and torch.is_grad_enabled():
        msg = "x requires gradients, and buffers that are written again have none: leave combine out"
        raise ValueError(msg)


def _groups(plan: Plan, like: torch.Tensor, write: Write) -> Iterator[tuple[Sequence[Group | None], Group]]:
    steps, count = plan.layout
    buffers = [torch.empty_like(like, memory_format=torch.preserve_format) for _ in range(count)]
    if torch.is_grad_enabled():
        write = torch.no_grad()(write)
    group = partial(_group, write, buffers, like.dtype)
    if any(step.V.ndim > 2 for step in plan.steps):  # element-wise weights go to the device before the run
        steps = tuple((tuple(part and _on(like, part) for part in stages), _on(like, end)) for stages, end in steps)
    for stages, end in steps:
        yield [part and partial(group, part) for part in stages], partial(group, end)


def _on(like: torch.Tensor, part: Part) -> Part:
    """Element-wise weights where the state is."""
    rows = (
        row._replace(
            terms=tuple(
                (name, w if isinstance(w, float) else torch.tensor(w, dtype=like.dtype, device=like.device))
                for name, w in row.terms
            )
        )
        for row in part.rows
    )
    return part._replace(rows=tuple(rows))


# -- how rows are computed -----------------------------------------------------------------------------


def _group(write: Write, buffers: Buffers, dtype: torch.dtype, part: Part, values: Values) -> dict[str, torch.Tensor]:
    """Compute a part of a step; targets that are other vectors as they are included."""
    if part.rows:
        write(buffers, part, values)
    found = {target: buffers[place] for target, _, place in part.rows}
    for target, name in part.given:  # only states need their dtype, a history may be of lower precision
        value = values[name]
        found[target] = value.to(dtype) if target[0] != "m" and value.dtype != dtype else value
    return found


def _one_by_one(buffers: Buffers, part: Part, values: Values) -> None:
    """Rows by operations on whole tensors."""
    _rows(buffers, part.rows, values)


def _rows(buffers: Buffers, rows: Sequence[UpdateRow], values: Values) -> None:
    for _, terms, place in rows:
        _write(buffers[place], terms, values)


def _write(out: torch.Tensor, terms: Terms, values: Values) -> None:
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


def _in_blocks(buffers: Buffers, part: Part, values: Values) -> None:
    """All rows block by block: a block of each tensor is read from memory once, whatever the number of operations."""
    like = buffers[part.rows[0].place]
    vectors = {name: values[name] for row in part.rows for name, _ in row.terms}
    if part.pairs is None or not all(_alike(v, like) and v.dtype == like.dtype for v in vectors.values()):
        _one_by_one(buffers, part, values)
        return
    blocks = {name: _split(vector) for name, vector in vectors.items()}
    script = [(_split(buffers[place]), [(blocks[name], w) for name, w in terms]) for _, terms, place in part.rows]
    for i in range(len(script[0][0])):
        for target, ((first, scale), *rest) in script:
            out = torch.mul(first[i], scale, out=target[i])
            for source, weight in rest:
                out.add_(source[i], alpha=weight)


def _split(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Blocks of a tensor without gaps, in the order of its memory."""
    return torch.split(torch.as_strided(tensor, (tensor.numel(),), (1,)), BLOCK)


def _in_kernel(kernel: Kernel, converts: bool, buffers: Buffers, part: Part, values: Values) -> None:
    """Two rows at a time by a kernel (one that ``converts`` takes all tensors), one by one where it cannot be used."""
    for rows, places, names, weights in part.pairs or ():
        targets, sources = list(map(buffers.__getitem__, places)), list(map(values.__getitem__, names))
        if len(sources) <= 8 and (converts or all(_alike(source, targets[0]) for source in sources)):
            kernel(targets, sources, weights)
        else:
            _rows(buffers, rows, values)
    if part.pairs is None:
        _rows(buffers, part.rows, values)


def _alike(tensor: torch.Tensor, like: torch.Tensor) -> bool:
    """Whether entries lie in the same order."""
    return tensor.stride() == like.stride() and tensor.shape == like.shape


@cache
def _triton_kernel() -> Kernel | None:
    """The kernel of :mod:`diffnum.models.update.kernel`, tried once; None where Triton is missing or does not work."""
    try:
        from diffnum.models.update.kernel import combine

        probe = torch.ones(4, device="cuda")
        combine([torch.empty_like(probe)], [probe, probe], [[2.0, 0.5]])
    except Exception as error:
        warnings.warn(f"the update runs without a Triton kernel ({error})", RuntimeWarning, stacklevel=2)
        return None
    return combine  # type: ignore[no-any-return, unused-ignore]
