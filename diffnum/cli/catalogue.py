"""Commands about methods: list, derive, prove, plan."""

from __future__ import annotations

from typing import Annotated, Any, get_args

import typer

from diffnum.cli.common import Jobs, Json, Kind, Name, Names, builder_of, echo, finish, print_json, records, schedule_of
from diffnum.cli.outputs import some_path
from diffnum.cli.progress import tracked
from diffnum.coefficients.catalogue import methods as all_methods
from diffnum.coefficients.noise import ORDERS
from diffnum.jobs.parallel import spread

__all__ = ["cite", "derive", "methods", "plan", "prove"]


def methods(kind: Kind = "all", as_json: Json = False) -> None:
    """List the methods of the catalogue with their orders."""
    records = list(all_methods(kind).values())  # type: ignore[arg-type]
    if as_json:
        keep = ("name", "title", "family", "order", "order_with_startup", "claimed_order", "depth", "cite", "equation")
        rows = [
            {
                **{k: getattr(r, k) for k in keep},
                "form": r.form.name,
                "orders": dict(r.orders),
                "aliases": dict(r.aliases),
                **({} if r.noise is None else {f"{kind}_order": r.noise.order(kind) for kind in ORDERS}),
            }
            for r in records
        ]
        print_json(rows)
        return
    plain, noisy = [r for r in records if r.noise is None], [(r, r.noise) for r in records if r.noise is not None]
    if plain:
        echo(f"{'name':<22} {'order':>5} {'shipped':>7} {'claimed':>7} {'form':<9} title")
    for r in plain:
        echo(f"{r.name:<22} {r.order:>5} {r.order_with_startup:>7} {r.claimed_order:>7} {r.form.name:<9} {r.title}")
    if noisy:
        gap = "\n" if plain else ""
        echo(f"{gap}{'stochastic':<22} {'strong':>6} {'weak':>6} {'in law':>7} {'noise-free':>10} {'form':<9} title")
    for r, noise in noisy:
        strong, weak, law = (f"{noise.order(kind):g}" for kind in ORDERS)
        echo(f"{r.name:<22} {strong:>6} {weak:>6} {law:>7} {r.order:>10} {r.form.name:<9} {r.title}")


def derive(
    name: Name,
    code: Annotated[str, typer.Option(help="Print the weights as python, c, julia, rust or latex.")] = "",
    as_json: Json = False,
) -> None:
    """Derive a method; print argument, formula or code."""
    from diffnum.proofs import derive as derivation_of

    found = derivation_of(name)
    text = found.code(code) if code else ""
    if as_json:
        weights = {row: {s: str(w) for s, w in value.items()} for row, value in found.weights.items()}
        argument = [{"text": line.text, "equation": line.equation} for line in found.argument]
        data = {"name": found.name, "latex": found.latex(), "weights": weights, "argument": argument}
        print_json({**data, "error_constant": str(found.error_constant), **({"code": text} if text else {})})
        return
    if text:
        echo(text)
        return
    for line in found.argument:
        echo(f"- {line.text}" + (f"\n    {line.equation}" if line.equation else ""))
    echo(f"\n{found.latex()}\n\nleading error constant: {found.error_constant}")
    if found.strong_constant is not None:
        echo(f"strong constant of the noise: {found.strong_constant}")


def prove(names: Names = None, kind: Kind = "deterministic", jobs: Jobs = None, as_json: Json = False) -> None:
    """Prove weights and order of methods.

    Derived, shipped and published weights are held against one another. Exit 1 unless all agree.
    """
    from dataclasses import asdict

    from diffnum.proofs import prove as proof_of

    chosen = records(names, kind)
    work = spread(proof_of, chosen, jobs, ordered=True)
    proofs = []
    for _, proof in tracked(work, len(chosen), "proving", lambda r: r.name):
        proofs.append(proof)
        if not as_json:
            echo(str(proof))
    if as_json:
        print_json([asdict(p) for p in proofs])
    finish(all(p.ok for p in proofs))


def cite(
    names: Annotated[
        list[str] | None, typer.Argument(help="Methods, or files of plans (.json).", show_default=False)
    ] = None,
) -> None:
    """Print BibTeX of methods, or of plans with their schedules."""
    from diffnum.plans import Plan
    from diffnum.plans import cite as citation

    if not names:
        msg = "names is empty: name a method, such as dpmpp_2m, or the file of a plan"
        raise typer.BadParameter(msg)
    echo(citation(*(Plan.from_json(some_path(name)) if name.endswith(".json") else name for name in names)))


def plan(
    method: Name,
    schedule: Annotated[str, typer.Option(help="Name of a schedule.")] = "vp-linear",
    grid: Annotated[str, typer.Option(help="Builder of the grid.")] = "uniform_half_log_snr",
    steps: Annotated[int, typer.Option(help="Number of steps.", min=1)] = 20,
    t_start: Annotated[float | None, typer.Option(help="Time of the noisy end; the schedule's own by default.")] = None,
    t_end: Annotated[float | None, typer.Option(help="Time of the clean end; the schedule's own by default.")] = None,
    terminal: Annotated[str, typer.Option(help="stop, denoise, lower_order or lower_order_denoise.")] = "stop",
    start: Annotated[str, typer.Option(help="ramp, high_order or exact; as shipped by default.")] = "",
    prediction: Annotated[str, typer.Option(help="What the model predicts; the method's own by default.")] = "",
    as_json: Json = False,
) -> None:
    """Print all numbers of a run of a method on a grid."""
    from diffnum.grids import TERMINALS
    from diffnum.plans import plan as plan_of
    from diffnum.types import Prediction

    noising, build = schedule_of(schedule), builder_of(grid)
    for option, value, known in (
        ("--terminal", terminal, tuple(TERMINALS)),
        ("--start", start, ("ramp", "high_order", "exact")),
        ("--prediction", prediction, get_args(Prediction)),
    ):
        if value and value not in known:
            msg = f"{option} {value!r} is unknown: use one of {', '.join(known)}"
            raise typer.BadParameter(msg)
    times = {k: v for k, v in (("t_start", t_start), ("t_end", t_end)) if v is not None}
    nodes = build(noising, steps, terminal=terminal, **times)
    options: dict[str, Any] = {k: v for k, v in (("start", start), ("prediction", prediction)) if v}
    numbers = plan_of(method, noising, nodes, **options)
    echo(numbers.to_json() if as_json else numbers.table())
