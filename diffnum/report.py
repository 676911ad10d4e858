"""The report: every method derived, proved and measured, then applied to trained networks, on one page.

The page holds everything it shows: formulas are MathML, plots are SVG elements, images are data addresses. Work is
spread over processes, one task a method or network; what a task returns is text and numbers, ready for the template.
"""

from __future__ import annotations

import math
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

from diffnum import __version__
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.catalogue import methods as catalogue
from diffnum.coefficients.method import GRID_KINDS, Method

__all__ = ["DEFAULT_MODELS", "MethodSection", "ModelSection", "Report", "build_report", "examine", "to_mathml"]

DEFAULT_MODELS = ("toy/digits", "galaxies/hsc-32")
"""A smooth network that ships with the package, and one that others trained."""

COLUMNS = (5, 10, 20)
"""Evaluations of the image columns."""

SEED = 0

Progress: TypeAlias = Callable[[int, int, str], object]
"""Called as ``progress(done, total, what)`` when a task is done."""


@dataclass(frozen=True)
class MethodSection:
    """What the page says of one method; the attributes are those that the template names."""

    name: str
    title: str
    form: str
    claimed: int
    proved: str
    proof_ok: bool
    measured: Mapping[str, str]
    shipped: str
    nfe_per_step: int
    verdict: str
    tone: str
    summary: str
    distinguish: str
    source: str
    formula: str
    error_constant: str
    argument: tuple[tuple[str, str], ...]
    identities: tuple[tuple[bool, str, str], ...]
    residuals: tuple[Mapping[str, Any], ...]
    study_verdict: str
    study_table: str
    plot: str
    contradictions: tuple[str, ...]
    undecided: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """Identifier in the page."""
        return _anchor(self.name)


@dataclass(frozen=True)
class ModelSection:
    """What the page says of one network; ``missing`` says how to get it where it is not here."""

    id: str
    missing: str = ""
    about: str = ""
    columns: tuple[int, ...] = ()
    rows: tuple[Mapping[str, Any], ...] = ()
    reference: Mapping[str, Any] = field(default_factory=dict)
    plot: str = ""
    caption: str = ""
    findings: tuple[str, ...] = ()
    table: str = ""

    @property
    def anchor(self) -> str:
        """Identifier in the page."""
        return _anchor(self.id)


@dataclass(frozen=True)
class Report:
    """A page that was written.

    Parameters
    ----------
    path : Path
        The file.
    methods : tuple of MethodSection
        What was found on methods, in the order of the page.
    models : tuple of ModelSection
        The same on networks.
    """

    path: Path
    methods: tuple[MethodSection, ...]
    models: tuple[ModelSection, ...]

    @property
    def failures(self) -> tuple[str, ...]:
        """Proofs that failed, and measurements that contradict the recorded order."""
        unproved = [f"{m.name}: not proved" for m in self.methods if not m.proof_ok]
        return (*unproved, *(c for m in self.methods for c in m.contradictions))

    @property
    def undecided(self) -> tuple[str, ...]:
        """Measurements of update formulas that decided nothing."""
        return tuple(u for m in self.methods for u in m.undecided)

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failures


def build_report(
    out: str | Path,
    methods: Sequence[str] | None = None,
    models: Sequence[str] = DEFAULT_MODELS,
    *,
    progress: Progress | None = None,
    jobs: int = 2,
    quick: bool = False,
) -> Report:
    """Derive, prove and measure methods, sample networks with them, and write one self-contained page.

    Parameters
    ----------
    out : str or Path
        HTML file to write; its folder is made where it is missing.
    methods : sequence of str, optional
        Names in the catalogue; all listed methods by default.
    models : sequence of str
        Identifiers of :func:`diffnum.load`. A network whose weights are absent is named on the page, with the
        command that fetches it.
    progress : callable, optional
        Called as ``progress(done, total, what)`` after each task.
    jobs : int
        Processes.
    quick : bool
        For a first look: one problem and fewer evaluations. The page says so.

    Returns
    -------
    Report

    Raises
    ------
    ValueError
        If a method or a network is unknown, or there are no processes.
    ModuleNotFoundError
        If an extra is missing: the message names it.
    """
    _need_extras()
    if jobs < 1:
        raise ValueError(f"jobs={jobs}: at least one process is needed")
    names = [find_method(name).name for name in (catalogue() if methods is None else methods)]
    _check_models(models)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work, so that a bad path fails at once
    tasks: list[tuple[str, str, bool]] = [("model", m, quick) for m in reversed(models)]  # the slow ones first
    tasks += [("method", name, quick) for name in names]
    found: dict[tuple[str, str], Any] = {}
    for kind, name, section in _run(tasks, jobs):
        found[kind, name] = section
        if progress is not None:
            progress(len(found), len(tasks), name)
    report = Report(
        out,
        tuple(found["method", name] for name in names),
        tuple(found["model", name] for name in models),
    )
    partial = out.with_name(out.name + ".part")  # an interrupted write leaves no half page under the name
    partial.write_text(_render(report, quick), encoding="utf-8")
    partial.replace(out)
    return report


def _need_extras() -> None:
    """Refuse early where a package of the extra is missing."""
    for name in ("jinja2", "joblib", "latex2mathml", "matplotlib", "torch"):
        try:
            version(name)
        except PackageNotFoundError as error:
            raise ModuleNotFoundError(
                f"the report needs {name}: install it with pip install 'diffnum[images,report]'", name=name
            ) from error


def _check_models(models: Sequence[str]) -> None:
    """Refuse unknown networks before any work; absent weights are no error here."""
    from diffnum.models import model_ids

    for model in models:
        if model not in model_ids():
            raise ValueError(f"model={model!r} is unknown: use one of {', '.join(model_ids())}")


def _run(tasks: Sequence[tuple[str, str, bool]], jobs: int) -> Iterator[tuple[str, str, Any]]:
    """Results of tasks as they are done."""
    if jobs == 1 or len(tasks) == 1:
        yield from map(_task, tasks)
        return
    from joblib import Parallel, delayed

    # Each worker computes on one core: more threads would only wait for one another.
    single = {f"{name}_NUM_THREADS": os.environ.get(f"{name}_NUM_THREADS") for name in ("OMP", "OPENBLAS", "MKL")}
    os.environ.update(dict.fromkeys(single, "1"))
    try:
        workers = Parallel(
            n_jobs=jobs, backend="loky", return_as="generator_unordered", batch_size=1, pre_dispatch="all"
        )
        yield from workers(delayed(_task)(task) for task in tasks)
    finally:
        for name, value in single.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _task(task: tuple[str, str, bool]) -> tuple[str, str, Any]:
    """One task of a worker."""
    kind, name, quick = task
    return kind, name, examine(name, quick=quick) if kind == "method" else _sample_model(name, quick)


# ---------------------------------------------------------------- methods


def examine(name: str, *, quick: bool = False) -> MethodSection:
    """Derive, prove and measure one method.

    Parameters
    ----------
    name : str
        Name in the catalogue.
    quick : bool
        Measure on one problem only.
    """
    from diffnum.convergence.study import convergence_study
    from diffnum.plot import to_svg
    from diffnum.problems import three_peaks
    from diffnum.proofs import derive, prove

    record = find_method(name)
    derivation, proof = derive(name), prove(name)
    study = convergence_study(name, {"three peaks": three_peaks()} if quick else None)
    measured = {kind: _measured(study.select(), kind) for kind in GRID_KINDS}
    contradictions = tuple(
        f"{name}: measured {s.estimate.rate:.2f} on {s.grid} grids ({s.problem}), recorded {record.order_on(s.grid)}"
        for s in study.select()
        if s.estimate.rejects(record.order_on(s.grid))
    )
    undecided = tuple(f"{name} on {s.grid} grids ({s.problem})" for s in study.select() if s.order is None)
    verdict, tone = _verdict(record, study, bool(contradictions) or not proof.ok)
    return MethodSection(
        name=name,
        title=record.title[0].upper() + record.title[1:],
        form=_form_text(record),
        claimed=record.claimed_order,
        proved=_proved(proof.orders),
        proof_ok=proof.ok,
        measured=measured,
        shipped=min(
            (_measured(study.select("as shipped"), kind) for kind in GRID_KINDS), key=lambda t: float(t.strip("~"))
        ),
        nfe_per_step=record.nfe(21) - record.nfe(20),
        verdict=verdict,
        tone=tone,
        summary=record.summary,
        distinguish=record.distinguish,
        source=f"{record.cite}, {record.equation}",
        formula=to_mathml(_broken(derivation.latex())),
        error_constant=_constant(derivation.error_constant),
        argument=tuple((line.text, to_mathml(line.equation) if line.equation else "") for line in derivation.argument),
        identities=tuple((i.ok, i.claim.replace("==", "="), i.detail) for i in proof.identities),
        residuals=tuple(
            {"grid": r.grid, "order": r.order, "trees": r.trees, "zero": r.zero, "example": r.example}
            for r in proof.residuals
        ),
        study_verdict=_sentence(study.verdict.partition(": ")[2]),
        study_table="\n".join(str(study).splitlines()[1:]),
        plot=to_svg(study.plot(), title=_plot_title(record, measured), prefix=_anchor(name)),
        contradictions=contradictions,
        undecided=undecided,
    )


def _measured(series: Sequence[Any], kind: str) -> str:
    """Order on a kind of grid, the lowest over problems; a rate with a tilde where it is not decided."""
    shown = []
    for s in (s for s in series if s.grid == kind):
        rate = s.estimate.rate if s.estimate.rate is not None else s.estimate.last_rate
        value = s.order if s.order is not None else rate
        if value is not None and math.isfinite(value):
            shown.append((value, f"{value:g}" if s.order is not None else f"~{value:.2f}"))
    return min(shown)[1] if shown else "~nan"


def _verdict(record: Method, study: Any, wrong: bool) -> tuple[str, str]:
    """What a reader takes away, and its tone."""
    if wrong:
        return "contradicts its record", "bad"
    if study.order is None:
        return "measurement undecided", ""
    worst = min(record.order_on(kind) for kind in GRID_KINDS)
    parts = []
    if record.order < record.claimed_order:
        parts.append(f"order {record.order}, not {record.claimed_order} as claimed")
    if worst < record.order:
        parts.append(f"order {worst} on irregular steps")
    shipped = study.order_with_startup
    if shipped is not None and shipped < worst:
        parts.append(f"start-up as shipped costs {worst - shipped:g}")
    return ("; ".join(parts), "") if parts else ("as claimed", "good")


def _form_text(record: Method) -> str:
    """Prediction and clock of a form."""
    return {
        "data": "data, half-log-SNR",
        "noise": "noise, half-log-SNR",
        "rho": "noise, sigma/alpha",
        "velocity": "velocity, sigma/(alpha + sigma)",
        "time": "noise, time",
    }.get(record.form.name, record.form.name)


def _proved(orders: Mapping[str, int]) -> str:
    """Proved order, with the exceptions."""
    if len(set(orders.values())) == 1:
        return str(next(iter(orders.values())))
    return " / ".join(str(orders[kind]) for kind in GRID_KINDS)


def _plot_title(record: Method, measured: Mapping[str, str]) -> str:
    """What the plot shows, in words."""
    found = ", ".join(f"{order} on {kind} grids" for kind, order in measured.items())
    return f"Errors of {record.title} against steps on logarithmic axes; measured order {found}."


def _constant(value: Any) -> str:
    """Error constant as MathML."""
    from sympy.printing.latex import latex

    return to_mathml(latex(value), block=False)


# ---------------------------------------------------------------- mathematics


def to_mathml(latex: str, *, block: bool = True) -> str:
    """LaTeX as a ``<math>`` element.

    Parameters
    ----------
    latex : str
        Mathematics without dollar signs.
    block : bool
        Display style, on its own line.
    """
    from latex2mathml.converter import convert

    # The converter does not know the environment "aligned", and makes an odd box of a negative thin space.
    known = latex.replace("{aligned}", "{split}").replace(r"\!", "")
    text: str = convert(known, display="block" if block else "inline")
    return re.sub(r' xmlns="[^"]*"', "", text)


_TERM = re.compile(r"((?:D|v|\\epsilon|\\bar\{\\epsilon\})(?:_\{[^{}]*\}|\(X_\{\d+\}\))) ([+-]) ")


def _broken(latex: str, width: int = 260) -> str:
    """Formula with a line for each evaluation where its rows are long."""
    lines = []
    for line in latex.split(" \\\\\n"):
        if len(line) > width and r"\left[" in line:
            head, bracket, rest = line.partition(r"\left[")
            rest = _TERM.sub(r"\1 \\\\ & \\qquad \2 ", rest)
            line = head + "[" + (r" \\ & \qquad " + rest.lstrip()).replace(r" \right]", r"\, ]") if bracket else line
        lines.append(line)
    return " \\\\\n".join(lines)


# ---------------------------------------------------------------- networks


def _sample_model(model_id: str, quick: bool) -> ModelSection:
    """Compare methods on one network."""
    import torch

    from diffnum.models import MissingModelError, load
    from diffnum.models.compare import DEFAULT_NFE, compare

    torch.set_num_threads(1)
    try:
        model = load(model_id, dtype="float64")
    except MissingModelError as error:
        return ModelSection(model_id, missing=_sentence(str(error)))
    smooth = model_id.startswith("toy/")  # cheap enough for more samples, levels and a tighter reference
    n = 2 if quick else 8 if smooth else 4
    if model.num_classes:
        model = model.conditioned([i % model.num_classes for i in range(n)])
    nfe = (5, 10, 20, 40) if quick else (*DEFAULT_NFE, 320) if smooth else DEFAULT_NFE
    tolerance = 1e-6 if quick else 1e-10 if smooth else 1e-8
    return _model_section(model, compare(model, nfe=nfe, n=n, seed=SEED, tolerance=tolerance))


def _model_section(model: Any, comparison: Any) -> ModelSection:
    """Pictures, plot and findings of a comparison."""
    from diffnum.plot import plot_work_precision, to_svg

    reference = comparison.reference
    labels = "" if model.num_classes is None else ", one of each label from 0 on"
    about = (
        f"{comparison.n} samples{labels}, noise from seed {comparison.seed}, float64, steps uniform in half-log-SNR "
        f"from t = {reference.t_start:g} to {reference.t_end:g}. Reference: {reference.integrator} with error control "
        f"at {reference.tolerance:g}, {reference.evaluations} evaluations a sample; a run at ten times the tolerance "
        f"differs by {reference.agreement:.0e}, so errors are trusted down to there."
    )
    rows = []
    for row in comparison.rows:
        cells = []
        for asked in COLUMNS:
            i = row.asked.index(asked)
            error = _percent(row.errors[i])
            alt = f"{comparison.n} samples by {row.label} in {row.nfe[i]} evaluations, error {error}"
            cells.append({**_picture(model, row.images[i], alt), "error": error, "nfe": row.nfe[i], "asked": asked})
        rows.append({"label": row.label, "cells": cells})
    axes = plot_work_precision(comparison.rows, floor=reference.agreement, title=comparison.model)
    slopes = "; ".join(f"{r.label}: {r.verdict}" for r in comparison.rows)
    return ModelSection(
        id=comparison.model,
        about=about,
        columns=COLUMNS,
        rows=tuple(rows),
        reference=_picture(model, reference.x, f"{comparison.n} samples of {comparison.model}, converged"),
        plot=to_svg(
            axes, title=f"Error against evaluations on {comparison.model}. {slopes}.", prefix=_anchor(comparison.model)
        ),
        caption="Dotted: slopes of order 1, 2, 3. Shaded: below the accuracy of the reference.",
        findings=_findings(comparison),
        table=str(comparison),
    )


def _picture(model: Any, x: Any, alt: str) -> dict[str, Any]:
    """Images of a batch side by side, as a data address."""
    import struct

    from diffnum.plot import image_grid, to_data_uri

    png = image_grid(model.to_image(x), columns=4 if len(x) > 4 else 2)
    width, height = struct.unpack(">II", png[16:24])  # a PNG says its size there
    return {"uri": to_data_uri(png), "width": width * 3, "height": height * 3, "alt": alt}


_MADE_OF = {
    "galaxies/": "It is built with ReLUs, whose kinks the flow crosses: between kinks it is smooth, across one a step "
    "loses all but its lowest orders.",
    "toy/": "Every operation in it is infinitely differentiable.",
}


def _findings(comparison: Any) -> tuple[str, ...]:
    """What the errors say, and whether the network or the method sets the order."""
    seen = [r for r in comparison.rows if r.observed is not None]
    listed = ", ".join(f"{r.label} {r.observed:.1f} (proved {r.order})" for r in seen)
    first = f"Slopes over the finest three levels that the reference resolves: {listed}."
    made = next((text for prefix, text in _MADE_OF.items() if comparison.model.startswith(prefix)), "")
    high = [r for r in seen if r.order >= 3]
    if comparison.limited is None:
        second = (
            "No method of order 3 or more has three levels that the reference resolves: nothing is said of them here."
        )
    elif comparison.limited:
        best = max(r.observed for r in high)
        second = (
            "On exact problems the methods of order 3 and more have their order; here none falls faster than about "
            f"n^-{best:.1f}. The limit is the network, not the methods. {made} High-order methods keep an advantage in "
            "the size of their errors, not in the rate."
        )
    else:
        reached = ", ".join(f"{r.label} {r.observed:.1f}" for r in high)
        second = f"Orders above 2 are visible here ({reached}), so this network is smooth at these step sizes. {made}"
    best_at = []
    for k in COLUMNS:
        best = min(comparison.rows, key=lambda r: r.errors[r.asked.index(k)])
        best_at.append(f"{best.label} at {k} evaluations ({_percent(best.errors[best.asked.index(k)])})")
    return first, second, f"Smallest error: {', '.join(best_at)}."


# ---------------------------------------------------------------- page


def _render(report: Report, quick: bool) -> str:
    """The page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("diffnum"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title="Diffusion samplers: derived, proved, measured, applied",
        opening=(
            "Each method below is derived symbolically, proved to be what ships and what was published, measured on "
            "problems whose exact answer is known, and then applied, with the same numbers, to trained image networks."
            + (" This is a quick look: fewer problems and evaluations than the full report." if quick else "")
        ),
        summary_text=_summary_text(report),
        grids=GRID_KINDS,
        methods=report.methods,
        models=report.models,
        run=_run_facts(report, quick),
    )


def _summary_text(report: Report) -> str:
    """Counts of what holds."""
    proved = sum(m.proof_ok for m in report.methods)
    text = f"{proved} of {len(report.methods)} methods are proved. "
    if report.failures:
        text += "Failures: " + "; ".join(report.failures) + ". "
    elif not report.undecided:
        text += "Every measured order is the recorded one, on every kind of grid. "
    if report.undecided:
        text += "No contradiction was measured, but undecided remain: " if not report.failures else "Undecided: "
        text += "; ".join(report.undecided) + "."
    return text.strip()


def _run_facts(report: Report, quick: bool) -> list[tuple[str, str]]:
    """Versions, seeds and settings."""
    packages = ("numpy", "scipy", "sympy", "torch", "matplotlib")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return [
        ("Version", f"diffnum {__version__}"),
        ("Python", f"{platform.python_version()}; {versions}"),
        ("Seed", f"{SEED}, for starting points and noise"),
        (
            "Problems",
            "three-peaked mixture in 1-D" + ("" if quick else "; rotated product of mixtures in 4-D") + ", VP-linear",
        ),
        (
            "Grids",
            "constant steps; smoothly varying steps; step ratios 1, 1.7, 0.6, 1.3 repeated; in each method's own clock",
        ),
        ("Networks", ", ".join(m.id for m in report.models) or "none"),
    ]


def _anchor(name: str) -> str:
    """Identifier for a name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def _sentence(text: str) -> str:
    """Text that begins with a capital and ends with a full stop, or nothing."""
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _percent(error: float) -> str:
    """Relative error for a reader."""
    if not math.isfinite(error):
        return "not finite"
    return f"{100 * error:.0f} %" if error >= 0.1 else f"{100 * error:.2g} %" if error >= 1e-4 else f"{error:.1e}"
