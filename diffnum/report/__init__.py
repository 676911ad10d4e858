"""The report: every method derived, proved and measured, then applied to trained networks, on one page.

The page holds everything it shows: formulas are MathML, plots are SVG elements, images are data addresses. Work is
spread over processes, one task a method or network; what a task returns is text and numbers, ready for the template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from diffnum.certificates.orders import END_STEPS
from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.catalogue import methods as catalogue
from diffnum.coefficients.method import GRID_KINDS
from diffnum.jobs.environment import versions_text
from diffnum.jobs.extras import lacking
from diffnum.jobs.files import write_file
from diffnum.jobs.ledger import Progress
from diffnum.jobs.parallel import spread
from diffnum.report.methods import MethodSection, examine
from diffnum.report.networks import ModelSection, sample_network
from diffnum.report.prose import SEED
from diffnum.templates import render

__all__ = ["DEFAULT_MODELS", "MethodSection", "ModelSection", "Report", "build_report", "examine"]

DEFAULT_MODELS = ("toy/digits", "galaxies/hsc-32")
"""A smooth network that ships with the package, and one that others trained."""


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
    if jobs < 1:  # before any file is touched
        msg = f"jobs={jobs}: at least one process is needed"
        raise ValueError(msg)
    names = [find_method(name).name for name in (catalogue() if methods is None else methods)]
    _check_models(models)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work, so that a bad path fails at once
    tasks: list[tuple[str, str, bool]] = [("model", m, quick) for m in reversed(models)]  # the slow ones first
    tasks += [("method", name, quick) for name in names]
    found: dict[tuple[str, str], Any] = {}
    for (kind, name, _), section in spread(_task, tasks, jobs):
        found[kind, name] = section
        if progress is not None:
            progress(len(found), len(tasks), name)
    report = Report(
        out,
        tuple(found["method", name] for name in names),
        tuple(found["model", name] for name in models),
    )
    write_file(out, [_render(report, quick).encode()])
    return report


def _need_extras() -> None:
    """Refuse early where a package of the extra is missing."""
    for name in ("jinja2", "latex2mathml", "torch"):
        try:
            version(name)
        except PackageNotFoundError as error:
            msg = "the report"
            raise lacking(msg, name, "images,report") from error


def _check_models(models: Sequence[str]) -> None:
    """Refuse unknown networks before any work; absent weights are no error here."""
    from diffnum.models import model_ids

    for model in models:
        if model not in model_ids():
            msg = f"model={model!r} is unknown: use one of {', '.join(model_ids())}"
            raise ValueError(msg)


def _task(task: tuple[str, str, bool]) -> MethodSection | ModelSection:
    """One task of a worker."""
    kind, name, quick = task
    return examine(name, quick=quick) if kind == "method" else sample_network(name, quick=quick)


# ---------------------------------------------------------------- page


def _render(report: Report, quick: bool) -> str:
    """The page as HTML."""
    return render(
        "report.html.j2",
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
    return [
        ("Versions", versions_text("numpy", "scipy", "sympy", "torch", "matplotlib")),
        ("Seed", f"{SEED}, for starting points and noise"),
        (
            "Problems",
            ("" if quick else "three-peaked mixture in 1-D; ") + "rotated product of mixtures in 4-D; on VP-linear",
        ),
        (
            "Steps",
            "formula: 20 to 320, more or fewer where these do not decide; as shipped, on the product: "
            f"{END_STEPS[0]} to {END_STEPS[-1]}",
        ),
        (
            "Grids",
            "constant steps; smoothly varying steps; step ratios 1, 1.7, 0.6, 1.3 repeated; in each method's own clock",
        ),
        ("Networks", ", ".join(m.id for m in report.models) or "none"),
    ]
