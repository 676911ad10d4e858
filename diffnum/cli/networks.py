"""Commands about trained networks: sample, compare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from diffnum.cli.common import Json, Model, Seed, echo, integers, print_json, progress_bar
from diffnum.coefficients.catalogue import method as find_method

__all__ = ["compare", "sample"]


def sample(
    model: Model,
    method: Annotated[str, typer.Option(help="Method of the catalogue.")] = "dpmpp_2m",
    steps: Annotated[int | None, typer.Option(help="Number of steps; 20 by default.", min=1)] = None,
    nfe: Annotated[int | None, typer.Option(help="Model evaluations, in place of steps.", min=1)] = None,
    n: Annotated[int, typer.Option("--n", "-n", help="Number of images.", min=1)] = 16,
    out: Annotated[
        Path, typer.Option(help="A .png (one picture), a .npy (float array), or a folder (shards, resumed if stopped).")
    ] = Path("samples.png"),
    seed: Seed = 0,
    label: Annotated[str | None, typer.Option(help='Class, or "each" for all in turn.', show_default=False)] = None,
    batch: Annotated[int, typer.Option(help="Images in flight at once.", min=1)] = 64,
    micro_batch: Annotated[
        int | None,
        typer.Option(help="Images in each call of the network; 16 for a folder, the batch for a file.", min=1),
    ] = None,
    shard: Annotated[int, typer.Option(help="Images a shard of a folder.", min=1)] = 512,
    fmt: Annotated[str, typer.Option("--format", help="Shards of a folder: npy, safetensors or png.")] = "npy",
    grid: Annotated[str, typer.Option(help="Grid of diffnum.grids.")] = "uniform_half_log_snr",
    terminal: Annotated[str, typer.Option(help="Terminal rule.")] = "stop",
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="cpu, or cuda (one GPU a process).")] = "cpu",
    as_json: Json = False,
) -> None:
    """Draw images from a trained network; a folder takes any number, also from several processes under torchrun."""
    if out.suffix not in (".png", ".npy", "") and not out.is_dir():
        raise typer.BadParameter(f"--out {str(out)!r}: give a file that ends in .png or .npy, or a folder")
    from diffnum.models import load
    from diffnum.models.sampling import draw, plan_for
    from diffnum.models.streaming import processes, stream

    if steps is None and nfe is None:
        steps = 20
    labels = _label(label)
    with processes(device) as group:
        network = load(model, dtype=dtype, device=group.device)
        numbers = plan_for(network, method, steps, nfe=nfe, grid=grid, terminal=terminal)
        facts = {"out": str(out), "model": model, "method": numbers.method, "n": n, "nfe": numbers.nfe, "seed": seed}
        if out.suffix not in (".png", ".npy"):
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
                    shard=shard,
                    fmt=fmt,  # type: ignore[arg-type]
                    labels=labels,
                    settings={"model": model, "grid": grid},
                    command=["diffnum", *sys.argv[1:]],
                    group=group,
                    progress=None if report is None else lambda d, t: report(d, t, model),
                )
        elif group.world > 1:
            raise typer.BadParameter(f"--out {str(out)!r}: several processes write a folder, not a file")
        else:
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


def _label(text: str | None) -> int | Literal["each"] | None:
    """A class, all classes in turn, or none."""
    if text is None or text == "each":
        return text  # type: ignore[return-value]
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f'--label {text!r}: give a whole number, or "each"') from None


def _write(out: Path, network: Any, parts: Sequence[Any]) -> None:
    """Write images to one file: a picture of all, or an array."""
    import io

    import numpy as np
    import torch

    from diffnum.models.storage import write_file

    images = torch.cat(list(parts))
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".png":
        from diffnum.plot import image_grid

        content = network.to_image(images)
        write_file(out, [image_grid(content, scale=max(1, 64 // content.shape[1]))])
    else:
        array = io.BytesIO()
        np.save(array, images.numpy())
        write_file(out, [array.getvalue()])


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
    levels = integers("--nfe", nfe)
    network = load(model, dtype="float64")
    if network.num_classes:
        network = network.conditioned([i % network.num_classes for i in range(n)])
    with progress_bar("comparing") as report:
        found = hold_against(
            network, chosen, levels, n, seed, tolerance=tolerance, progress=lambda d, t: report(d, t, model)
        )
    if out is not None:
        from diffnum.plot import plot_work_precision, save

        out.parent.mkdir(parents=True, exist_ok=True)
        axes = plot_work_precision(found.rows, floor=found.reference.agreement, title=model)
        save(axes, out)
    if as_json:
        print_json(found.to_dict())
    else:
        echo(str(found))
