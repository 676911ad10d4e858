"""Plans for engines: the scalars and the elementary operations of each step, in a stated order of evaluation.

A plan says what is computed; an engine that is to replace a scheduler bit for bit must also know in which order. A host
table is that: for each step its scalars, rounded once, and a straight-line programme of operations on arrays that uses
them. Nothing is left to an engine but to multiply, divide, add and subtract:

* a scalar times an array has the dtype of the array; in half precision it is computed in float32 and rounded once;
* the sum of two arrays has the wider of their dtypes;
* ``widen`` takes an array to float32, ``narrow`` to the dtype of the table; no operation is fused with another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import array_api_compat
import numpy as np

from diffnum.jobs.checked import check_name
from diffnum.jobs.data import parsed, read_json
from diffnum.jobs.files import write_text
from diffnum.plans.declarations import code
from diffnum.types import Array, FloatArray

__all__ = ["DTYPES", "OPERATIONS", "HostOperation", "HostStep", "HostTable", "canonical", "rounded_to", "sha256"]

FORMAT = "diffnum-host-table-v1"

DTYPES: Final = ("float32", "bfloat16", "float16")
"""Dtypes of the arrays between two steps. Scalars are float32, or a half where the scheduler rounds them."""

OPERATIONS: Final = ("scale", "divide", "add", "subtract", "widen", "narrow", "copy")
"""Kinds, in the order of their numbers in printed code; ``right`` is a scalar's place for the first two."""


class HostOperation(NamedTuple):
    """One operation: register ``target`` becomes ``left`` and ``right`` combined."""

    kind: str
    target: int
    left: int
    right: int = 0


@dataclass(frozen=True)
class HostStep:
    """One step of an engine, after the network was evaluated at the state in register 0, into register 1.

    Parameters
    ----------
    t : float
        Time at which the network is evaluated, in the schedule's unit.
    level : float
        Noise level there as the scheduler keeps it, a float32: the time of a flow, sigma/alpha elsewhere.
    scalars : tuple of float
        Numbers of the step, exact in their dtype.
    operations : tuple of HostOperation
        What is done, in order.
    """

    t: float
    level: float
    scalars: tuple[float, ...]
    operations: tuple[HostOperation, ...]


def canonical(data: Any) -> str:
    """JSON text of data that is the same whoever writes it: keys sorted, no blanks, shortest floats."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def sha256(data: Any) -> str:
    """SHA-256 of JSON-able data, of its canonical text."""
    return hashlib.sha256(canonical(data).encode()).hexdigest()


@dataclass(frozen=True)
class HostTable:
    """All numbers of a run as an engine needs them.

    Parameters
    ----------
    method : str
        Method of the plan.
    evaluation : str
        Scheduler whose order of operations this is, or ``"plan"``.
    dtype : str
        Of the arrays, one of :data:`DTYPES`.
    prediction : str
        What the network returns.
    plan_sha256 : str
        Content hash of the plan.
    registers : tuple of str
        Names of the arrays; 0 is the state ``x``, 1 the network's output ``v``; those named ``m1``, ... and ``y`` are
        kept from step to step.
    steps : tuple of HostStep
        The steps.
    """

    method: str
    evaluation: str
    dtype: str
    prediction: str
    plan_sha256: str
    registers: tuple[str, ...]
    steps: tuple[HostStep, ...]

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.steps)

    @cached_property
    def sha256(self) -> str:
        """Content hash: two tables with the same numbers have the same one, on every machine."""
        return sha256(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Table as JSON-able data, that of ``diffnum.plans.schema("host_table")``."""
        return {
            "format": FORMAT,
            "method": self.method,
            "evaluation": self.evaluation,
            "dtype": self.dtype,
            "prediction": self.prediction,
            "plan_sha256": self.plan_sha256,
            "registers": list(self.registers),
            "steps": [
                {
                    "t": step.t,
                    "level": step.level,
                    "scalars": list(step.scalars),
                    "operations": [operation._asdict() for operation in step.operations],
                }
                for step in self.steps
            ],
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """Canonical JSON text, written to ``path`` where given; :attr:`sha256` is the hash of this text."""
        text = canonical(self.to_dict())
        if path is not None:
            write_text(path, text)
        return text

    @classmethod
    def from_json(cls, text: str | Path) -> HostTable:
        """Table from JSON text, or from a file where a path is given.

        Raises
        ------
        ValueError
            If it is no table of this format, or an operation reaches for what is not there.
        """
        data = read_json(text) if isinstance(text, Path) else parsed(text)
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            msg = f"text is no host table in the format {FORMAT}: write it with HostTable.to_json()"
            raise ValueError(msg)
        try:
            steps = tuple(
                HostStep(
                    float(step["t"]),
                    float(step["level"]),
                    tuple(float(value) for value in step["scalars"]),
                    tuple(HostOperation(**operation) for operation in step["operations"]),
                )
                for step in data["steps"]
            )
            names = ("method", "evaluation", "dtype", "prediction", "plan_sha256")
            said: dict[str, Any] = {name: str(data[name]) for name in names}
            made = cls(**said, registers=tuple(data["registers"]), steps=steps)
        except (KeyError, TypeError) as error:
            msg = f"text is no host table in the format {FORMAT} ({error}): write it with HostTable.to_json()"
            raise ValueError(msg) from None
        made._check()
        return made

    def _check(self) -> None:
        """Refuse operations that no engine could run."""
        check_name("dtype", self.dtype, DTYPES)
        for i, step in enumerate(self.steps):
            for operation in step.operations:
                check_name(f"steps[{i}] kind", operation.kind, OPERATIONS)
                ends = len(step.scalars) if operation.kind in ("scale", "divide") else len(self.registers)
                places = (operation.target, operation.left)
                if not (all(0 <= p < len(self.registers) for p in places) and 0 <= operation.right < ends):
                    msg = f"steps[{i}] has {operation}, which reaches for what is not there: write it again"
                    raise ValueError(msg)

    def code(self, language: str) -> str:
        """The table as a C header or a Rust module: types printed from the JSON schema, and its numbers as constants.

        Parameters
        ----------
        language : {"c", "rust"}
            Which.
        """
        return code(self.to_dict(), language)

    def run(
        self,
        model: Callable[[Array, float], Array],
        x: Array,
        *,
        return_trajectory: bool = False,
    ) -> Any:
        """Run the table as an engine would: the reference for one.

        Parameters
        ----------
        model : callable
            ``model(x, t)``, the prediction that the table is for, in the dtype of ``x``.
        x : array
            State at the first time. A tensor of torch in the dtype of the table; a numpy array in float32, which for
            half precision holds numbers of that precision (numpy has no bfloat16: each operation is rounded).
        return_trajectory : bool
            Return the list of all states, the first among them.

        Raises
        ------
        TypeError
            If ``x`` has another dtype.
        """
        state = self._first(x)
        held: dict[int, Any] = {0: state}
        states = [state]
        for step in self.steps:
            held[1] = self._like(model(_plain(held[0]), step.t), state)
            for operation in step.operations:
                held[operation.target] = self._done(operation, held, step.scalars)
            states.append(held[0])
        return [_plain(value) for value in states] if return_trajectory else _plain(held[0])

    def _first(self, x: Array) -> Any:
        """State in the dtype of the table."""
        if isinstance(x, np.ndarray):
            if x.dtype != np.float32:
                msg = f"x has dtype {x.dtype}: pass float32 numbers (of half precision, for dtype={self.dtype!r})"
                raise TypeError(msg)
            return _Half(rounded_to(self.dtype, x), self.dtype) if self.dtype != "float32" else x
        if not str(getattr(x, "dtype", type(x))).endswith(self.dtype):
            msg = f"x is {getattr(x, 'dtype', type(x).__name__)} and the table is for {self.dtype}: convert it"
            raise TypeError(msg)
        return x

    def _like(self, value: Array, state: Any) -> Any:
        if isinstance(state, _Half):
            return _Half(rounded_to(self.dtype, np.asarray(value, dtype=np.float32)), self.dtype)
        return value

    def _done(self, operation: HostOperation, held: Mapping[int, Any], scalars: Sequence[float]) -> Any:
        left, right = held[operation.left], operation.right
        match operation.kind:
            case "scale":
                return scalars[right] * left
            case "divide":
                return left / scalars[right]
            case "add":
                return left + held[right]
            case "subtract":
                return left - held[right]
            case "copy":
                return left
            case _:
                return _cast(left, "float32" if operation.kind == "widen" else self.dtype)


def _cast(value: Any, dtype: str) -> Any:
    """Array in another dtype, halves of numpy as :class:`_Half`."""
    if isinstance(value, np.ndarray | _Half):
        single = _plain(value)
        return single if dtype == "float32" else _Half(rounded_to(dtype, single), dtype)
    xp = array_api_compat.array_namespace(value)
    return xp.astype(value, getattr(xp, dtype))


def rounded_to(dtype: str, values: Any) -> Any:
    """Float32 numbers rounded to the nearest ones of a dtype, ties to even; still float32.

    Parameters
    ----------
    dtype : str
        One of :data:`DTYPES`.
    values : array_like
        Numbers.
    """
    single = np.asarray(values, dtype=np.float32)
    if dtype == "float32":
        return single
    if dtype == "float16":
        with np.errstate(over="ignore"):  # infinity, as everywhere
            return single.astype(np.float16).astype(np.float32)
    bits = single.view(np.uint32).astype(np.uint64)
    upper = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return np.where(np.isfinite(single), upper.astype(np.uint32).view(np.float32), single)


class _Half:
    """A half-precision array as numpy lacks it: float32 numbers, rounded after each operation."""

    __array_ufunc__ = None

    def __init__(self, values: Any, dtype: str) -> None:
        self.values, self.dtype = values, dtype

    def _made(self, values: FloatArray) -> _Half:
        return _Half(rounded_to(self.dtype, values), self.dtype)

    def _with(self, other: Any, combine: Callable[[Any, Any], Any]) -> Any:
        if isinstance(other, _Half):
            return self._made(combine(self.values, other.values))
        if isinstance(other, float):
            return self._made(combine(self.values, np.float32(other)))
        return combine(self.values, other)  # with a float32 array

    def __rmul__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a * b)

    def __truediv__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a / b)

    def __add__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a + b)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: b - a)


def _plain(value: Any) -> Any:
    return value.values if isinstance(value, _Half) else value
