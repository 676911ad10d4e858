"""Command line: the words of the package as verbs.

Data go to standard output, progress and complaints to standard error. Exit status: 0 where everything that was checked
holds, 1 where a check fails or decides nothing, 2 for bad input (one line says what and how to mend it), 130 when
interrupted.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from diffnum.coefficients.catalogue import method as find_method
from diffnum.coefficients.catalogue import methods as catalogue
from diffnum.coefficients.method import GRID_KINDS

__all__ = ["app", "main"]

app = typer.Typer(
    name="diffnum",
    help="Reference numerics of diffusion sampling: derive, prove, measure, apply.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Names = Annotated[list[str] | None, typer.Argument(help="Methods; all listed ones by default.", show_default=False)]
Name = Annotated[str, typer.Argument(help="A method, such as dpmpp_2m.", show_default=False)]
Model = Annotated[str, typer.Argument(help="A network, such as toy/digits.", show_default=False)]
Seed = Annotated[int, typer.Option(help="Seed of the noise.", min=0)]


@app.command()
def methods(as_json: Json = False) -> None:
    """List the methods of the catalogue."""
    records = list(catalogue().values())
    if as_json:
        keep = ("name", "title", "family", "order", "order_with_startup", "claimed_order", "depth", "cite", "equation")
        rows = [
            {
                **{k: getattr(r, k) for k in keep},
                "form": r.form.name,
                "orders": dict(r.orders),
                "aliases": dict(r.aliases),
            }
            for r in records
        ]
        _print_json(rows)
        return
    _echo(f"{'name':<20} {'order':>5} {'shipped':>7} {'claimed':>7} {'form':<9} title")
    for r in records:
        _echo(f"{r.name:<20} {r.order:>5} {r.order_with_startup:>7} {r.claimed_order:>7} {r.form.name:<9} {r.title}")


@app.command()
def derive(
    name: Name,
    code: Annotated[str, typer.Option(help="Print the weights as python, c or latex.")] = "",
    as_json: Json = False,
) -> None:
    """Derive a method symbolically and print its argument, formula or code."""
    from diffnum.proofs import derive as derivation_of

    found = derivation_of(name)
    text = "" if not code else found.latex() if code == "latex" else found.code(code)
    if as_json:
        weights = {row: {s: str(w) for s, w in value.items()} for row, value in found.weights.items()}
        argument = [{"text": line.text, "equation": line.equation} for line in found.argument]
        data = {"name": found.name, "latex": found.latex(), "weights": weights, "argument": argument}
        _print_json({**data, "error_constant": str(found.error_constant), **({"code": text} if text else {})})
        return
    if text:
        _echo(text)
        return
    for line in found.argument:
        _echo(f"- {line.text}" + (f"\n    {line.equation}" if line.equation else ""))
    _echo(f"\n{found.latex()}\n\nleading error constant: {found.error_constant}")


@app.command()
def prove(names: Names = None, as_json: Json = False) -> None:
    """Prove that derived, shipped and published weights agree, and the order; exit 1 unless all do."""
    from dataclasses import asdict

    from diffnum.proofs import prove as proof_of

    records = _records(names)
    proofs = []
    for record in _tracked(records, "proving", lambda r: r.name):
        proofs.append(proof_of(record))
        if not as_json:
            _echo(str(proofs[-1]))
    if as_json:
        _print_json([asdict(p) for p in proofs])
    _finish(all(p.ok for p in proofs))


@app.command()
def verify(
    names: Names = None,
    sampler: Annotated[str, typer.Option(help="Your sampler, as package.module:function.")] = "",
    order: Annotated[float | None, typer.Option(help="Order that must hold, for --sampler.")] = None,
    schedule: Annotated[str, typer.Option(help="Noising process; a sampler with alpha = 1 needs edm.")] = "vp-linear",
    steps: Annotated[str, typer.Option(help="Step counts, such as 20,40,80,160; chosen by rule by default.")] = "",
    as_json: Json = False,
) -> None:
    """Measure orders on problems with exact answers; exit 1 unless each is decided and as claimed.

    A sampler of your own is called as sampler(model, x, nodes), with nodes the half-log-SNRs, increasing.
    """
    from diffnum import schedules
    from diffnum.convergence.study import convergence_study

    noising = schedules.from_dict({"schedule": schedule})
    levels = _integers("--steps", steps) if steps else None
    if sampler:
        if names or order is None:
            raise typer.BadParameter("--sampler needs --order, and no method names")
        subjects: list[tuple[Any, dict[str, float]]] = [(_imported(sampler), dict.fromkeys(GRID_KINDS, order))]
    elif order is not None:
        raise typer.BadParameter("--order goes with --sampler; a method of the catalogue has its own")
    else:
        subjects = [(r, {kind: float(r.order_on(kind)) for kind in GRID_KINDS}) for r in _records(names)]
    results = []
    for subject, expected in _tracked(subjects, "measuring", lambda s: getattr(s[0], "name", sampler)):
        study = convergence_study(subject, schedule=noising, steps=levels)
        wrong = _unsupported(study, expected)
        wrong += [
            f"one-step defect on {kind}: rate {rate:.2f}, not {expected[kind] + 1:g}"
            for kind, rate in study.local_rates.items()
            if rate is not None and rate < expected[kind] + 0.8
        ]
        results.append({**_study_data(study), "expected": expected, "ok": not wrong, "wrong": wrong})
        if not as_json:
            _echo(("ok    " if not wrong else "FAIL  ") + study.verdict)
            for reason in wrong:
                _echo(f"      {reason}")
    if as_json:
        _print_json(results)
    _finish(all(r["ok"] for r in results))


@app.command()
def plan(
    method: Name,
    schedule: Annotated[str, typer.Option(help="Name of a schedule.")] = "vp-linear",
    grid: Annotated[str, typer.Option(help="Builder of the grid.")] = "uniform_half_log_snr",
    steps: Annotated[int, typer.Option(help="Number of steps.", min=1)] = 20,
    t_start: Annotated[float | None, typer.Option(help="Time of the noisy end; the schedule's own by default.")] = None,
    t_end: Annotated[float | None, typer.Option(help="Time of the clean end; the schedule's own by default.")] = None,
    terminal: Annotated[str, typer.Option(help="stop, denoise, lower_order or lower_order_denoise.")] = "stop",
    start: Annotated[str, typer.Option(help="ramp or high_order; as shipped by default.")] = "",
    prediction: Annotated[str, typer.Option(help="What the model predicts; the method's own by default.")] = "",
    as_json: Json = False,
) -> None:
    """Print all the numbers of a run: a method on a schedule and a grid."""
    from diffnum import grids, schedules
    from diffnum.plans import plan as plan_of

    noising = schedules.from_dict({"schedule": schedule})
    if grid not in grids.GRIDS:
        raise typer.BadParameter(f"--grid {grid!r} is unknown: use one of {', '.join(grids.GRIDS)}")
    times = {k: v for k, v in (("t_start", t_start), ("t_end", t_end)) if v is not None}
    nodes = grids.GRIDS[grid](noising, steps, terminal=terminal, **times)
    options: dict[str, Any] = {k: v for k, v in (("start", start), ("prediction", prediction)) if v}
    numbers = plan_of(method, noising, nodes, **options)
    _echo(numbers.to_json() if as_json else numbers.table())


@app.command()
def sample(
    model: Model,
    method: Annotated[str, typer.Option(help="Method of the catalogue.")] = "dpmpp_2m",
    steps: Annotated[int, typer.Option(help="Number of steps.", min=1)] = 20,
    n: Annotated[int, typer.Option(help="Number of images.", min=1)] = 16,
    out: Annotated[Path, typer.Option(help="File to write: .png (one picture) or .npy (float array).")] = Path(
        "samples.png"
    ),
    seed: Seed = 0,
    label: Annotated[int | None, typer.Option(help="Class, for networks that have classes.")] = None,
    as_json: Json = False,
) -> None:
    """Draw images from a trained network."""
    if out.suffix not in (".png", ".npy"):
        raise typer.BadParameter(f"--out {str(out)!r}: give a file that ends in .png or .npy")
    from diffnum.models import load
    from diffnum.models.sampling import plan_for
    from diffnum.models.sampling import sample as draw

    network = load(model)
    if label is not None:
        network = network.conditioned(label)
    numbers = plan_for(network, method, steps)
    with _progress("sampling") as report:
        images = draw(network, method, steps, n, seed=seed, progress=lambda d, t: report(d, t, model))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        from diffnum.plot import image_grid

        content = network.to_image(images)
        out.write_bytes(image_grid(content, scale=max(1, 64 // content.shape[1])))
    else:
        import numpy as np

        np.save(out, images.numpy())
    facts = {"out": str(out), "model": model, "method": numbers.method, "n": n, "nfe": numbers.nfe, "seed": seed}
    if as_json:
        _print_json(facts)
    else:
        _echo(f"{out}: {n} images of {model} by {numbers.method}, {numbers.nfe} evaluations each, seed {seed}")


@app.command()
def compare(
    model: Model,
    methods: Annotated[str, typer.Option(help="Methods, separated by commas; one of each kind by default.")] = "",
    nfe: Annotated[str, typer.Option(help="Evaluations allowed, separated by commas.")] = "5,10,20,40,80",
    n: Annotated[int, typer.Option(help="Number of samples.", min=1)] = 4,
    seed: Seed = 0,
    tolerance: Annotated[float, typer.Option(help="Tolerance of the reference.")] = 1e-7,
    out: Annotated[Path | None, typer.Option(help="Figure to write: .svg, .png or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Hold methods against a converged reference on a trained network."""
    from diffnum.models import load
    from diffnum.models.compare import DEFAULT_METHODS
    from diffnum.models.compare import compare as hold_against

    if out is not None and out.suffix not in (".svg", ".png", ".pdf"):
        raise typer.BadParameter(f"--out {str(out)!r}: give a file that ends in .svg, .png or .pdf")
    chosen = [find_method(m.strip()) for m in methods.split(",")] if methods else DEFAULT_METHODS
    levels = _integers("--nfe", nfe)
    network = load(model, dtype="float64")
    if network.num_classes:
        network = network.conditioned([i % network.num_classes for i in range(n)])
    with _progress("comparing") as report:
        found = hold_against(
            network, chosen, levels, n, seed, tolerance=tolerance, progress=lambda d, t: report(d, t, model)
        )
    if out is not None:
        from diffnum.plot import plot_work_precision, save

        out.parent.mkdir(parents=True, exist_ok=True)
        axes = plot_work_precision(found.rows, floor=found.reference.agreement, title=model)
        save(axes, out)
    if as_json:
        _print_json(found.to_dict())
    else:
        _echo(str(found))


@app.command()
def audit(
    library: Annotated[str, typer.Argument(help="diffusers or k-diffusion, as installed.")],
    only: Annotated[str, typer.Option(help="Parts of names or configurations, separated by commas.")] = "",
    cache: Annotated[Path, typer.Option(help="Folder for finished rows; an interrupted audit goes on there.")] = Path(
        "out/audit"
    ),
    out: Annotated[Path | None, typer.Option(help="HTML file to write as well.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes; one a core, at most four, by default.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Measure the true orders of a library's samplers, and where they are lost; exit 1 if a row falls short."""
    from diffnum.audits import audit as run_audit

    parts = [part.strip() for part in only.split(",")] if only else None
    with _progress("audit") as show:
        found = run_audit(library, cache_dir=cache, jobs=jobs, only=parts, progress=show)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(found.to_html(), encoding="utf-8")
    _echo(found.to_json() if as_json else str(found))
    _finish(found.ok)


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
    methods: Annotated[str, typer.Option(help="Methods, separated by commas; all listed ones by default.")] = "",
    models: Annotated[
        str, typer.Option(help="Networks, separated by commas; digits and a galaxy network by default.")
    ] = "",
    jobs: Annotated[int, typer.Option(help="Processes; one a core, at most four, by default.", min=0)] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer problems and evaluations, for a first look.")] = False,
    as_json: Json = False,
) -> None:
    """Derive, prove, measure and apply methods; leaves one self-contained page. Exit 1 if anything is contradicted."""
    from diffnum.report import DEFAULT_MODELS, build_report

    names = [m.strip() for m in methods.split(",")] if methods else None
    networks = [m.strip() for m in models.split(",")] if models else DEFAULT_MODELS
    with _progress("report") as show:
        page = build_report(
            out, names, networks, progress=show, jobs=jobs or min(4, max(1, os.cpu_count() or 1)), quick=quick
        )
    facts = {"out": str(out), "failures": page.failures, "undecided": page.undecided}
    missing = [m.id for m in page.models if m.missing]
    if as_json:
        _print_json({**facts, "missing": missing})
    else:
        held = sum(m.proof_ok for m in page.methods)
        _echo(f"{out}: {held} of {len(page.methods)} methods proved, {len(page.failures)} contradictions")
        for kind, lines in (("failed", page.failures), ("undecided", page.undecided), ("not sampled", missing)):
            for line in lines:
                _echo(f"  {kind}: {line}")
    _finish(page.ok)


# ---------------------------------------------------------------- parts of commands


def _records(names: Sequence[str] | None) -> list[Any]:
    """Records of named methods, or of all."""
    return [find_method(name) for name in (names or catalogue())]


def _integers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers separated by commas or blanks."""
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise typer.BadParameter(f"{option} {text!r}: give whole numbers separated by commas") from None


def _imported(path: str) -> Callable[..., Any]:
    """Object called ``package.module:function``; the working directory counts as a place for modules."""
    module, colon, attribute = path.partition(":")
    if not (module and colon and attribute):
        raise typer.BadParameter(f"--sampler {path!r}: write package.module:function")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise typer.BadParameter(f"--sampler {path!r}: {error}") from None
    if not callable(found):
        raise typer.BadParameter(f"--sampler {path!r} is a {type(found).__name__}: name a function")
    return found  # type: ignore[no-any-return]


def _unsupported(study: Any, expected: dict[str, float]) -> list[str]:
    """Why an order is not shown; that a kinder problem shows a higher one is no objection where another shows it."""
    wrong = []
    for kind in expected:
        here = [s for s in study.select() if s.grid == kind]
        shown = any(s.estimate.supports(expected[kind]) for s in here)
        for s in here:
            above = s.estimate.status == "decided" and s.estimate.rate > expected[kind]
            if not s.estimate.supports(expected[kind]) and not (shown and above):
                wrong.append(f"{s.problem} on {kind}: {s.estimate.reason}")
    return wrong


def _study_data(study: Any) -> dict[str, Any]:
    """Study as JSON-able data."""
    series = [
        {
            "problem": s.problem,
            "grid": s.grid,
            "variant": s.variant,
            "measure": s.measure,
            "rate": s.estimate.rate,
            "order": s.order,
            "status": s.estimate.status,
            "reason": s.estimate.reason,
            "steps": s.estimate.steps.tolist(),
            "errors": s.estimate.errors.tolist(),
        }
        for s in study.series
    ]
    return {
        "name": study.name,
        "verdict": study.verdict,
        "order": study.order,
        "orders": study.orders,
        "order_with_startup": study.order_with_startup,
        "series": series,
    }


def _echo(text: str) -> None:
    """Print to standard output at once, so that long work shows as it comes."""
    typer.echo(text)
    sys.stdout.flush()


def _print_json(data: Any) -> None:
    """Print JSON that every reader accepts: what is not finite becomes null."""
    typer.echo(json.dumps(_finite(data), indent=1, ensure_ascii=False, allow_nan=False))


def _finite(data: Any) -> Any:
    """Data with null for numbers that JSON lacks."""
    if isinstance(data, float):
        return data if data - data == 0.0 else None
    if isinstance(data, dict):
        return {str(k): _finite(v) for k, v in data.items()}
    return [_finite(v) for v in data] if isinstance(data, list | tuple) else data


def _finish(ok: bool) -> None:
    """Leave with the status that says whether all held."""
    if not ok:
        raise typer.Exit(1)


# ---------------------------------------------------------------- progress


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Bar on standard error, gone when done; one plain line at the start where that is no terminal."""
    if not sys.stderr.isatty():
        typer.echo(f"{title} ...", err=True)
        yield lambda _done, _total, _what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[what]}"), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None, what="")
        yield lambda done, total, what: bar.update(task, completed=done, total=total, what=what)


def _tracked(items: Sequence[Any], title: str, name: Callable[[Any], str]) -> Iterator[Any]:
    """Items, with progress where there are several."""
    if len(items) < 2:
        yield from items
        return
    with _progress(title) as show:
        for i, item in enumerate(items):
            show(i, len(items), name(item))
            yield item
        show(len(items), len(items), "")


# ---------------------------------------------------------------- entry point


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words after the program's name; those of the process by default.
    """
    try:
        code = _status(arguments)
    except KeyboardInterrupt:  # wherever it arrives, also while another error is being reported
        code = 130
    sys.exit(code)


def _status(arguments: Sequence[str] | None) -> int:
    """Run the command line; its exit status."""
    try:
        status = app(args=None if arguments is None else list(arguments), standalone_mode=False)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        return _complain(str(error) or type(error).__name__)
    except Exception as error:
        if not hasattr(error, "exit_code"):
            raise
        # typer's own: what it says of an option, or that the user stopped it
        message = error.format_message() if hasattr(error, "format_message") else ""
        if message:
            return _complain(message)
        return 130 if type(error).__name__ == "Abort" else int(error.exit_code)
    return status if isinstance(status, int) else 0


def _complain(message: str) -> int:
    """One line on standard error; the status of bad input."""
    typer.echo("diffnum: " + " ".join(message.split()), err=True)
    return 2


if __name__ == "__main__":
    main()
