"""The record of a plan: its tableaux, what the caller must bring, its files and tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, overload

import numpy as np

from diffnum import schedules
from diffnum.forms import conversion
from diffnum.jobs.data import parsed, read_json
from diffnum.jobs.files import write_text
from diffnum.jobs.shown import table_html
from diffnum.plans.as_shipped import host_table
from diffnum.plans.buffers import Layout, layout
from diffnum.plans.host_tables import HostTable, sha256
from diffnum.tableau import Tableau, entries
from diffnum.types import FloatArray, Prediction, Schedule

__all__ = ["Plan", "folded", "substituted"]

_FORMAT = "diffnum-plan-v1"


@dataclass(frozen=True, eq=False)
class Plan:
    """All the numbers of a sampling run.

    Parameters
    ----------
    method : str
        Name of the method in the catalogue.
    prediction : str
        What the model must predict; :meth:`for_prediction` changes it.
    schedule : Schedule
        The noising process.
    steps : tuple of Tableau
        One a step, in order.
    history : mapping of str to float
        Evaluations that the run needs from its caller, name -> time; empty but for an exact start.
    start, terminal : str
        Start-up and terminal rule.
    history_prediction : str
        Prediction of the evaluations that are passed between the steps, and of ``history``: that of the method's form,
        whatever the model predicts.
    found_for : mapping, optional
        Of a plan that was found for one model: which (``model``, ``sha256``, ``guidance``), and how (``seed``,
        ``command``). Running it on another one gives a warning.
    """

    method: str
    prediction: Prediction
    schedule: Schedule
    steps: tuple[Tableau, ...]
    history: Mapping[str, float]
    start: str
    terminal: str
    history_prediction: Prediction
    found_for: Mapping[str, Any] | None = None

    @property
    def nfe(self) -> int:
        """Model evaluations in the whole run."""
        return sum(step.nfe for step in self.steps)

    @property
    def times(self) -> FloatArray:
        """Times of the states, from the first to the last, shape (steps + 1,)."""
        return np.array([self.steps[0].t_from, *(step.t_to for step in self.steps)])

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.steps)

    @overload
    def __getitem__(self, index: int) -> Tableau: ...
    @overload
    def __getitem__(self, index: slice) -> Plan: ...
    def __getitem__(self, index: int | slice) -> Tableau | Plan:
        """One step, or the plan of a range of steps (to stop and go on later)."""
        if isinstance(index, slice):
            if index.step not in (None, 1):
                msg = f"step={index.step}: the steps of a plan must follow each other, slice without a step"
                raise ValueError(msg)
            return replace(self, steps=self.steps[index])
        return self.steps[index]

    def for_prediction(self, prediction: Prediction) -> Plan:
        """Plan for a model that predicts something else.

        The conversion is linear in the state and the prediction, so it folds into the weights and costs
        nothing at run time. A history passed between the steps keeps :attr:`history_prediction`.

        Raises
        ------
        ValueError
            If the conversion does not exist at a stage (data from noise at alpha = 0).
        """
        if prediction == self.prediction:
            return self
        if prediction not in self._folded:
            steps = tuple(folded(self.steps, prediction, self.prediction))
            self._folded[prediction] = replace(self, steps=steps, prediction=prediction)
        return self._folded[prediction]

    @cached_property
    def _folded(self) -> dict[str, Plan]:
        """Plans for other predictions that have been asked for: a run over several batches folds once."""
        return {}

    @cached_property
    def programme(self) -> tuple[tuple[tuple[str, dict[str, Any]], ...], ...]:
        """For each step its rows (target, {source: weight}), zeros left out."""
        return tuple(tuple(step.rows()) for step in self.steps)

    @cached_property
    def stages(self) -> tuple[tuple[tuple[float, float, float], ...], ...]:
        """For each step its evaluations as (t, alpha, sigma)."""
        return tuple(
            tuple(zip(s.stage_t.tolist(), s.stage_alpha.tolist(), s.stage_sigma.tolist(), strict=True))
            for s in self.steps
        )

    @cached_property
    def layout(self) -> Layout:
        """Buffers that the rows of :attr:`programme` may be computed into."""
        return layout((step.nfe, rows) for step, rows in zip(self.steps, self.programme, strict=True))

    def __eq__(self, other: object) -> bool:
        """Equal when every number is."""
        if not isinstance(other, Plan):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    # -- files and tables --------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Plan as JSON-able data."""
        return {
            "format": _FORMAT,
            "method": self.method,
            "prediction": self.prediction,
            "schedule": self.schedule.to_dict(),
            "start": self.start,
            "terminal": self.terminal,
            "history": dict(self.history),
            "history_prediction": self.history_prediction,
            **({} if self.found_for is None else {"found_for": dict(self.found_for)}),
            "steps": [
                {
                    name: value.tolist() if isinstance(value, np.ndarray) else _listed(value)
                    for name, value in ((f, getattr(step, f)) for f in Tableau.__dataclass_fields__)
                }
                for step in self.steps
            ],
        }

    @cached_property
    def sha256(self) -> str:
        """Content hash: two plans with the same numbers have the same one, whoever wrote them."""
        return sha256(self.to_dict())

    def host_table(
        self,
        dtype: str = "float32",
        evaluation: str = "as diffusers",
        *,
        levels: Sequence[float] | None = None,
        arithmetic: ModuleType | None = None,
        device: str = "accelerator",
    ) -> HostTable:
        """Scalars and elementary operations of each step in a stated order, for an engine that replaces a scheduler.

        Parameters
        ----------
        dtype : {"float32", "bfloat16", "float16"}
            Of the arrays between the steps; scalars are float32 as in the schedulers.
        evaluation : str
            ``"as diffusers"`` (the scheduler that computes this method), the name of one of
            :data:`diffnum.plans.as_shipped.EVALUATIONS`, or ``"plan"``: the rows of this plan, a product and a sum a
            weight, in float32.
        levels : sequence of float, optional
            ``scheduler.sigmas``, whose last bits may differ from those of the plan's nodes.
        arithmetic : module, optional
            Library whose elementary functions evaluate the scalars: ``torch`` for the bits of diffusers, which computes
            them on the CPU. By default they are rounded correctly, so that a table is the same on every machine; last
            places differ.
        device : {"accelerator", "cpu"}
            Where the scheduler runs whose bits are wanted. They differ in half precision: torch on the CPU rounds a
            scalar that stands before an array to half, and on an accelerator keeps it in float32.

        Returns
        -------
        HostTable

        Raises
        ------
        ValueError
            If the plan draws noise, needs a history, or is not what that scheduler computes.
        """
        return host_table(self, dtype, evaluation, levels=levels, arithmetic=arithmetic, device=device)

    def to_json(self, path: str | Path | None = None) -> str:
        """Plan as JSON text (shortest round-trip floats); written to ``path`` where given."""
        text = json.dumps(self.to_dict())
        if path is not None:
            write_text(path, text)
        return text

    @classmethod
    def from_json(cls, text: str | Path) -> Plan:
        """Plan from JSON text, or from a file where a path is given.

        Raises
        ------
        ValueError
            If it is not a plan of this format.
        """
        try:
            if isinstance(text, Path):
                return cls._from_dict(read_json(text))
            return cls._from_dict(parsed(text))
        except (KeyError, TypeError) as error:
            msg = f"text is not a plan in the format {_FORMAT} ({error}): write it with Plan.to_json()"
            raise ValueError(msg) from None

    @classmethod
    def _from_dict(cls, data: Any) -> Plan:
        """Plan from JSON-able data."""
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            msg = f"text is not a plan in the format {_FORMAT}: write it with Plan.to_json()"
            raise ValueError(msg)
        return cls(
            method=data["method"],
            prediction=data["prediction"],
            schedule=schedules.from_dict(data["schedule"]),
            steps=tuple(_tableau_from_dict(step) for step in data["steps"]),
            history=data["history"],
            start=data["start"],
            terminal=data["terminal"],
            history_prediction=data["history_prediction"],
            found_for=data.get("found_for"),
        )

    def table(self) -> str:
        """Plan as a text table: one line a step, with its evaluations and weights."""
        lines = [
            f"{self.method} on {self.schedule.name}: {len(self)} steps, {self.nfe} evaluations, "
            f"{self.prediction} prediction, start {self.start}, terminal {self.terminal}",
            f"{'step':>4}  {'t from':>10}  {'t to':>10}  rows",
        ]
        for i, (step, rows) in enumerate(zip(self.steps, self.programme, strict=True)):
            head = f"{i:>4}  {step.t_from:>10.5g}  {step.t_to:>10.5g}  "
            for target, row in rows:
                lines.append(f"{head}{target} = {_terms(row)}")
                head = " " * len(head)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows: list[tuple[Any, ...]] = []
        for i, (step, listed) in enumerate(zip(self.steps, self.programme, strict=True)):
            times: tuple[Any, ...] = (i, float(step.t_from), float(step.t_to))
            for target, row in listed:
                rows.append((*times, f"{target} = {_terms(row)}"))
                times = ("", "", "")
        return table_html(("step", "from", "to", "rows"), rows, repr(self))

    def __repr__(self) -> str:
        """Short form; :meth:`table` shows the numbers."""
        return (
            f"Plan({self.method!r}, schedule={self.schedule.name!r}, steps={len(self)}, nfe={self.nfe}, "
            f"prediction={self.prediction!r}, start={self.start!r}, terminal={self.terminal!r})"
        )


def _listed(value: Any) -> Any:
    """Names as JSON has them."""
    return list(value) if isinstance(value, tuple) else value


def _terms(row: Mapping[str, Any]) -> str:
    """Right-hand side of a row."""
    return " ".join(
        f"{weight:+.6g} {name}" if isinstance(weight, float) else f"[{np.shape(weight)}] {name}"
        for name, weight in row.items()
    )


def folded(steps: Sequence[Tableau], source: Prediction, to: Prediction) -> Iterator[Tableau]:
    """Tableaux for a model that predicts ``source``, from those for a model that predicts ``to``."""
    alpha = np.concatenate([np.empty(0), *(step.stage_alpha for step in steps)])
    sigma = np.concatenate([np.empty(0), *(step.stage_sigma for step in steps)])
    p, q = (np.broadcast_to(factor, alpha.shape).tolist() for factor in conversion(source, to, alpha, sigma))
    pairs = zip(p, q, strict=True)
    for step in steps:
        yield substituted(step, list(islice(pairs, step.nfe)))


def substituted(step: Tableau, pairs: Sequence[tuple[float, float]]) -> Tableau:
    """Tableau with each evaluation written as ``p X + q M``, a pair (p, q) a stage; row by row, stages first."""
    k, s = len(step.inputs), step.nfe
    stages = np.concatenate([step.U, step.A, step.stage_noise], axis=1)
    outputs = np.concatenate([step.V, step.B, step.noise], axis=1)
    folded: list[list[Any]] = []
    for row in (*entries(stages), *entries(outputs)):
        new = [0.0 * w if k <= j < k + s else w for j, w in enumerate(row)]
        for j, ((p, q), stage) in enumerate(zip(pairs, folded, strict=False), start=k):
            if isinstance(row[j], float) and row[j] == 0.0:
                continue
            new = [a + row[j] * p * b for a, b in zip(new, stage, strict=True)]
            new[j] = new[j] + row[j] * q
        folded.append(new)
    matrix = np.array(folded)
    (U, A, stage_noise), (V, B, noise) = (
        (part[:, :k], part[:, k : k + s], part[:, k + s :]) for part in (matrix[:s], matrix[s:])
    )
    return replace(step, U=U, A=A, stage_noise=stage_noise, V=V, B=B, noise=noise)


def _tableau_from_dict(data: Mapping[str, Any]) -> Tableau:
    """Tableau from JSON-able data, with the shapes that empty lists lose."""
    k, k_out, q, s = (len(data[f]) for f in ("inputs", "outputs", "noises", "stage_t"))
    shapes = {
        "U": (s, k),
        "A": (s, s),
        "V": (k_out, k),
        "B": (k_out, s),
        "stage_noise": (s, q),
        "noise": (k_out, q),
    }
    element = np.shape(data["V"])[2:]  # element-wise weights
    values: dict[str, Any] = {}
    for name in Tableau.__dataclass_fields__:
        value = data[name]
        if name in shapes:
            array = np.array(value, dtype=np.float64)
            value = array.reshape(shapes[name] + array.shape[2:]) if array.size else np.zeros(shapes[name] + element)
        elif name.startswith("stage_"):
            value = np.array(value, dtype=np.float64)
        elif isinstance(value, list):
            value = tuple(value)
        values[name] = value
    return Tableau(**values)
