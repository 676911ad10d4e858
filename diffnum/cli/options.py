"""What the commands about networks make of their options: a class, guidance, the file of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import typer

__all__ = ["guided", "label_of", "read_plan"]

_KINDS = {"states": "noisy", "data": "clean"}
"""Shipped classifier for what a rule's classifier is to know."""


def guided(network: Any, scale: float, labels: int | Literal["each"] | None, rule: str = "classifier_free") -> Any:
    """Network with guidance, which needs a class to be guided to; parts of the rule are those that ship with it."""
    from diffnum.guidance import RULES

    if labels is None:
        msg = f'--guidance {scale:g}: give --label, a class or "each", to be guided to'
        raise typer.BadParameter(msg)
    if network.num_classes is None or not network.unconditional:
        msg = f"--guidance {scale:g}: {network.name} has no classes with a null label"
        raise typer.BadParameter(msg)
    usable = [
        name
        for name, record in RULES.items()
        if set(record.needs) <= {"classifier", "perturbed"} and record.judges in ("", *_KINDS)
    ]
    if rule not in usable:
        msg = f"--rule {rule!r}: a network alone can be guided by {', '.join(usable)}; for others use diffnum.guidance"
        raise typer.BadParameter(msg)
    record = RULES[rule]
    parts: dict[str, Any] = {}
    if "perturbed" in record.needs:
        from diffnum.models import perturbed_attention

        parts["perturbed"] = perturbed_attention(network)
    if record.judges:
        from diffnum.models import load_classifier

        parts["classifier"] = load_classifier(network, _KINDS[record.judges])
    return record(network, scale, **parts)


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
    """Plan of a file for a network.

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
    return plan
