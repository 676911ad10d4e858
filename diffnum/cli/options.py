"""What the commands about networks make of their options: a class, guidance, the file of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import typer

__all__ = ["guided", "label_of", "read_plan"]


def guided(network: Any, scale: float, labels: int | Literal["each"] | None) -> Any:
    """Network with classifier-free guidance, which needs a class to be guided to."""
    from diffnum.guidance import classifier_free

    if labels is None:
        msg = f'--guidance {scale:g}: give --label, a class or "each", to be guided to'
        raise typer.BadParameter(msg)
    if network.num_classes is None or not network.unconditional:
        msg = f"--guidance {scale:g}: {network.name} has no classes with a null label"
        raise typer.BadParameter(msg)
    return classifier_free(network, scale)


def label_of(text: str | None) -> int | Literal["each"] | None:
    """A class, all classes in turn, or none."""
    if text is None or text == "each":
        return text  # type: ignore[return-value]
    try:
        return int(text)
    except ValueError:
        msg = f'--label {text!r}: give a whole number, or "each"'
        raise typer.BadParameter(msg) from None


def read_plan(path: Path, model: Any) -> Any:
    """Plan of a file for a network; a warning where it was found for another one.

    Parameters
    ----------
    path : Path
        File of the plan.
    model : NetworkDenoiser or Guided
        The network that is to be sampled.

    Raises
    ------
    ValueError
        If the file is no plan, or its schedule is another one.
    """
    from diffnum.calibration.networks import weights_digest
    from diffnum.plans import Plan

    if not path.is_file():
        msg = f"--plan {str(path)!r}: there is no such file"
        raise typer.BadParameter(msg)
    plan = Plan.from_json(path)
    if plan.schedule != model.schedule:
        msg = (
            f"--plan {str(path)!r}: it is a plan for the schedule {plan.schedule.name}, and the network has "
            f"{model.schedule.name}; take one that was made for this network"
        )
        raise typer.BadParameter(msg)
    found_for = plan.found_for or {}
    if found_for.get("model") == model.name and weights_digest(model) != found_for.get("sha256"):
        typer.echo(f"diffnum: {path} was found for other weights of {model.name}; its error is not known", err=True)
    return plan
