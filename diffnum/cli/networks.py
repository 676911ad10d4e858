"""Commands about trained networks: sample, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffnum.cli.common import Json, Model, Seed, echo, integers, print_json, progress_bar
from diffnum.coefficients.catalogue import method as find_method

__all__ = ["compare", "sample"]


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
    with progress_bar("sampling") as report:
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
        print_json(facts)
    else:
        echo(f"{out}: {n} images of {model} by {numbers.method}, {numbers.nfe} evaluations each, seed {seed}")


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
