"""Commands about trained networks: sample, compare."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from diffnum.cli.common import Json, Model, Seed, echo, integers, print_json
from diffnum.cli.options import guided, label_of, read_plan
from diffnum.cli.outputs import Force, as_folder, check_file, some_path
from diffnum.cli.progress import progress_bar
from diffnum.coefficients.catalogue import method as find_method
from diffnum.jobs.environment import versions
from diffnum.jobs.extras import required
from diffnum.jobs.files import write_json

__all__ = ["compare", "guided", "label_of", "sample"]


def sample(
    model: Model,
    method: Annotated[
        str | None,
        typer.Option(help="Method of the catalogue; dpmpp_2m, of a distilled student ddim.", show_default=False),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Number of steps; 20, of a distilled student its own.", min=1)
    ] = None,
    nfe: Annotated[int | None, typer.Option(help="Model evaluations, in place of steps.", min=1)] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Number of images.", min=1)] = 16,
    out: Annotated[
        Path,
        typer.Option(
            help="A .png (one picture), a .npy (float array), or a folder (shards, resumed if stopped).",
            parser=some_path,
            metavar="PATH",
        ),
    ] = Path("samples.png"),
    seed: Seed = 0,
    label: Annotated[str | None, typer.Option(help='Class, or "each" for all in turn.', show_default=False)] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Scale of guidance; of classifier-free guidance 1 is none. Needs --label.")
    ] = None,
    rule: Annotated[
        str, typer.Option(help="Guidance rule: classifier_free, projected, zero_star, perturbed_attention, ...")
    ] = "classifier_free",
    batch: Annotated[int, typer.Option(help="Images in flight at once.", min=1)] = 64,
    micro_batch: Annotated[
        int | None,
        typer.Option(help="Images in each call of the network; 16 for a folder, the batch for a file.", min=1),
    ] = None,
    shard: Annotated[int | None, typer.Option(help="Images a shard of a folder; 512 by default.", min=1)] = None,
    fmt: Annotated[
        str | None,
        typer.Option("--format", help="Shards of a folder: npy (the default), safetensors or png.", show_default=False),
    ] = None,
    grid: Annotated[str, typer.Option(help="Grid of diffnum.grids.")] = "uniform_half_log_snr",
    terminal: Annotated[str, typer.Option(help="Terminal rule.")] = "stop",
    plan: Annotated[
        Path | None,
        typer.Option(
            help="Plan from a file, in place of method, steps and grid.",
            show_default=False,
            parser=some_path,
            metavar="PATH",
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, or cuda (one GPU a process).")] = "cpu",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw images from a trained network.

    A folder takes any number of them, also from several processes under torchrun, and is gone on with after any stop.
    """
    many = as_folder(out) and out.suffix not in _FILES
    _check_place(out, many, shard, fmt, force=force)
    from diffnum.models import load
    from diffnum.models.runs.sampling import check_memory, draw
    from diffnum.models.runs.streaming import check_folder, processes, stream
    from diffnum.models.runs.students import own_method, own_steps
    from diffnum.plans import plan_for

    if plan is not None and (steps is not None or nfe is not None):
        msg = f"--plan {str(plan)!r}: the plan says its steps, leave --steps and --nfe out"
        raise typer.BadParameter(msg)
    labels = label_of(label)
    if many:
        check_folder(out)
    with processes(device) as group:
        network: Any = load(model, dtype=dtype, device=group.device)
        if guidance is not None:
            network = guided(network, guidance, labels, rule)
        if plan is None:
            method = own_method(network) if method is None else method
            steps = own_steps(network, method) if steps is None and nfe is None else steps
            numbers = plan_for(network, method, steps, nfe=nfe, grid=grid, terminal=terminal)
        else:
            numbers = read_plan(plan, network)
        facts = {"out": str(out), "model": model, "method": numbers.method, "n": n, "nfe": numbers.nfe, "seed": seed}
        if many:
            title = "sampling" if group.world == 1 else f"sampling, process {group.rank + 1} of {group.world}"
            with progress_bar(title) if group.rank == 0 else nullcontext() as report:
                stream(
                    network,
                    numbers,
                    out,
                    n,
                    seed=seed,
                    batch=batch,
                    micro_batch=micro_batch or 16,
                    shard=shard or 512,
                    fmt=fmt or "npy",  # type: ignore[arg-type]
                    labels=labels,
                    settings={"model": model, "grid": grid}
                    | ({} if guidance is None else {"guidance": guidance, "rule": rule}),
                    command=["diffnum", *sys.argv[1:]],
                    group=group,
                    progress=None if report is None else lambda d, t, _: report(d, t, model),
                )
        elif group.world > 1:
            msg = f"--out {str(out)!r}: several processes write a folder, not a file"
            raise typer.BadParameter(msg)
        else:
            check_memory(network, n)
            if isinstance(labels, int):
                network = network.conditioned(labels)
            parts = []
            with progress_bar("sampling") as report:
                for images in draw(
                    network,
                    numbers,
                    range(n),
                    seed,
                    batch=batch if micro_batch is None else -(-batch // micro_batch) * micro_batch,
                    micro_batch=micro_batch,
                    label_of=(lambda i: i % (network.num_classes or 1)) if labels == "each" else None,
                ):
                    parts.append(images.cpu())
                    report(sum(map(len, parts)), n, model)
            _write(out, network, parts)
        if group.rank:
            return
    if as_json:
        print_json(facts)
    else:
        echo(f"{out}: {n} images of {model} by {numbers.method}, {numbers.nfe} evaluations each, seed {seed}")


_FILES = (".png", ".npy")
"""Endings of single files of images."""


def _check_place(out: Path, many: bool, shard: int | None, fmt: str | None, *, force: bool) -> None:
    """Refuse a place for images before any work, and options that have no meaning there."""
    if fmt not in (None, "npy", "safetensors", "png"):
        msg = f"--format {fmt!r} is unknown: use npy, safetensors or png"
        raise typer.BadParameter(msg)
    if not many:
        if out.suffix not in _FILES:
            msg = f"--out {str(out)!r}: give a file that ends in .png or .npy, or a folder"
            raise typer.BadParameter(msg)
        if fmt is not None or shard is not None:
            msg = f"--out {str(out)!r}: --format and --shard are for folders; give a folder, or leave them out"
            raise typer.BadParameter(msg)
        check_file("--out", out, _FILES, force=force)
        return
    if force:
        msg = f"--force: {str(out)!r} is a folder, which is continued and never replaced; remove it yourself"
        raise typer.BadParameter(msg)
    if fmt == "safetensors":
        required("safetensors", f"--format {fmt}")


def _write(out: Path, network: Any, parts: Sequence[Any]) -> None:
    """Write images to one file: a picture of all, or an array."""
    import io

    import numpy as np

    from diffnum.jobs.files import write_file

    if out.suffix == ".png":
        from diffnum.plot import image_grid

        content = np.concatenate([network.to_image(part) for part in parts])
        write_file(out, [image_grid(content, scale=max(1, 64 // content.shape[1]))])
    else:
        array = io.BytesIO()
        np.save(array, np.concatenate([part.numpy() for part in parts]))
        write_file(out, [array.getvalue()])


def compare(
    ctx: typer.Context,
    model: Model,
    methods: Annotated[
        str, typer.Option(help="Methods, separated by blanks or commas; one of each kind by default.")
    ] = "",
    nfe: Annotated[
        str | None,
        typer.Option(
            help="Evaluations allowed, separated by blanks or commas; those of the plans, or 5,6,8,10,15,20.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[int, typer.Option(help="Samples held against a converged reference; 0 for none.", min=0)] = 4,
    images: Annotated[int, typer.Option(help="Images in each set; 0 for no distances between sets.", min=0)] = 256,
    seed: Seed = 0,
    grid: Annotated[str, typer.Option(help="Grid of diffnum.grids.")] = "uniform_half_log_snr",
    terminal: Annotated[str, typer.Option(help="Terminal rule of the sets.")] = "stop",
    features: Annotated[str, typer.Option(help="Features of the sets: auto, inception, shipped or random.")] = "auto",
    reference_nfe: Annotated[int, typer.Option(help="Evaluations of the reference set.", min=2)] = 200,
    tolerance: Annotated[float, typer.Option(help="Tolerance of the converged reference.")] = 1e-7,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    plan: Annotated[
        list[Path] | None,
        typer.Option(
            help="Plan from a file, in the table as one more row.",
            show_default=False,
            parser=some_path,
            metavar="PATH",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Page (.html), figure of errors (.svg, .png, .pdf) or numbers (.json) to write.",
            parser=some_path,
            metavar="PATH",
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Hold methods on a network against its exact flow.

    By single images (--n), and as sets of images (--images).
    """
    from diffnum.models import load
    from diffnum.models.quality import measure_quality, prepared
    from diffnum.models.quality.compare import DEFAULT_METHODS
    from diffnum.models.quality.compare import compare as hold_against

    endings = (".html", ".json", ".svg", ".png", ".pdf")
    if out is not None:
        check_file("--out", out, endings, force=force)
    if not (n or images):
        msg = "--n 0 --images 0: nothing is left to do, give one of them"
        raise typer.BadParameter(msg)
    if out is not None and ((out.suffix == ".html" and not images) or (out.suffix in endings[2:] and not n)):
        msg = f"--out {str(out)!r}: a page needs --images, a figure of errors needs --n"
        raise typer.BadParameter(msg)
    more_methods, more_nfe = _sorted_words(ctx.args)
    names = [*methods.replace(",", " ").split(), *more_methods]
    chosen = [find_method(name) for name in names] if names else DEFAULT_METHODS
    levels = (*integers("--nfe", nfe or _levels_of(plan or ())), *more_nfe)
    noisy = [record.name for record in map(find_method, names) if record.stochastic]
    if noisy and n:
        msg = (
            f"--methods {noisy[0]}: it adds noise, so that no single image can be held against the exact flow; "
            "with --n 0 sets of images are compared"
        )
        raise typer.BadParameter(msg)
    found, quality = None, None
    network = load(model, device=device)
    if images:
        prepared(
            network,
            chosen,
            levels,
            images,
            grid=grid,
            terminal=terminal,
            features=features,  # type: ignore[arg-type]
            reference_nfe=reference_nfe,
            plans=[read_plan(path, network) for path in plan or ()],
        )
    with progress_bar("comparing") as report:
        if n:
            exact = load(model, dtype="float64", device=device)
            if exact.num_classes:
                exact = exact.conditioned([i % exact.num_classes for i in range(n)])
            found = hold_against(
                exact,
                chosen,
                levels,
                n,
                seed,
                grid=grid,
                tolerance=tolerance,
                plans=[read_plan(path, exact) for path in plan or ()],
                progress=lambda d, t, what: report(d, t, f"{model}, errors: {what}"),
            )
        if images:
            quality = measure_quality(
                network,
                chosen,
                levels,
                images,
                seed,
                grid=grid,
                terminal=terminal,
                features=features,  # type: ignore[arg-type]
                reference_nfe=reference_nfe,
                plans=[read_plan(path, network) for path in plan or ()],
                progress=lambda d, t, what: report(d, t, f"{model}, sets: {what}"),
            )
    command = shlex.join(["diffnum", *sys.argv[1:]])
    data = {
        "command": command,
        **({} if found is None else found.to_dict()),
        "sets": None if quality is None else quality.to_dict(),
        "versions": versions("numpy", "scipy", "torch"),
    }
    if out is not None:
        if out.suffix == ".html":
            from diffnum.report.comparison import write_comparison

            write_comparison(out, network, quality, found, command=command)  # type: ignore[arg-type]
        elif out.suffix == ".json":
            write_json(out, data)
        else:
            from diffnum.plot import plot_work_precision, save

            axes = plot_work_precision(found.rows, floor=found.reference.agreement, title=model)  # type: ignore[union-attr]
            save(axes, out)
    if as_json:
        print_json(data)
    else:
        echo("\n".join(str(part) for part in (found, quality) if part is not None))


def _levels_of(paths: Sequence[Path]) -> str:
    """Evaluations of plans in files, or the usual ones."""
    from diffnum.plans import Plan

    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        msg = f"--plan {missing[0]!r}: there is no such file"
        raise typer.BadParameter(msg)
    return " ".join(map(str, sorted({Plan.from_json(path).nfe for path in paths}))) or "5,6,8,10,15,20"


def _sorted_words(words: Sequence[str]) -> tuple[list[str], list[int]]:
    """Methods and numbers among the words that follow ``--methods`` and ``--nfe``."""
    numbers = [int(word) for word in words if word.isdigit()]
    unknown = [word for word in words if word.startswith("-")]
    if unknown:
        msg = f"{unknown[0]!r} is no option of compare"
        raise typer.BadParameter(msg)
    return [word.strip(",") for word in words if not word.isdigit()], numbers
