"""The record of a guidance rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from diffnum.guidance.guided import Scale, check_scale
from diffnum.jobs.checked import check_model
from diffnum.jobs.shown import facts_html, short
from diffnum.types import Denoiser

__all__ = ["PARTS", "GuidanceRule"]

PARTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unconditional": "the model without its condition",
        "weak": "a worse model with the same condition",
        "perturbed": "the model with its attention perturbed, such as diffnum.models.perturbed_attention(model)",
        "grid": "the grid of the run",
        "interval": "noise levels sigma/alpha (low, high) between which there is guidance",
        "classifier": "a classifier, such as diffnum.guidance.BayesClassifier(mixture, schedule)",
        "guiders": "functions guider(x, t), each the gradient of an energy by the state",
    }
)
"""What a rule may need besides a model and a scale, and what to give for it."""


@dataclass(frozen=True)
class GuidanceRule:
    r"""A published way to guide a model.

    Parameters
    ----------
    name : str
        Key in :data:`diffnum.guidance.RULES`.
    title : str
        What it does, in a few words.
    formula : str
        The guided prediction, in TeX.
    source : str
        Paper, with equation, algorithm or section.
    cite : str
        Key in the bibliography.
    build : callable
        ``build(model, scale, **parts_and_options)``: the guided model.
    needs : tuple of str
        Keys of :data:`PARTS` without which it cannot be built.
    takes : tuple of str
        Parts and options that may be left out.
    judges : {"", "states", "data", "minority"}
        What its classifier is to know: classes of noisy states, classes of data, or minority labels; empty for none.
    unguided : float
        Scale at which it changes nothing.
    exponent : callable, optional
        From the scale to the exponent w of :math:`p_\emptyset^{1-w} p_c^w`, for rules that are said to sample it, or
        whose classifier, exact and differentiated exactly, makes them the same field.
    invariant : bool
        Whether the rule is the same whatever the models predict.
    limit : bool
        Whether the guided model is a field of its own, so that small steps have a limit; False where it depends on
        the grid.
    code : str
        Code as ``owner/repo at commit, file, function``, where it was read; else empty.
    deviations : tuple of str
        Where that code, or this record, departs from the paper.
    """

    name: str
    title: str
    formula: str
    source: str
    cite: str
    build: Callable[..., Denoiser] = field(repr=False)
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    judges: str = ""
    unguided: float = 1.0
    exponent: Callable[[float], float] | None = field(default=None, repr=False)
    invariant: bool = True
    limit: bool = True
    code: str = ""
    deviations: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Short form."""
        return short(
            "GuidanceRule", self.name, title=self.title, needs=self.needs, unguided=self.unguided, cite=self.cite
        )

    def _repr_html_(self) -> str:
        facts = {"title": self.title, "formula": f"${self.formula}$", "source": self.source, "code": self.code or None}
        parts = {"needs": ", ".join(self.needs) or None, "takes": ", ".join(self.takes) or None}
        return facts_html({**facts, **parts, "unguided": self.unguided}, self.name)

    def __call__(self, model: Denoiser, scale: Scale, **given: Any) -> Denoiser:
        """Guided model.

        Parameters
        ----------
        model : Denoiser
            Model that is guided.
        scale : float or callable
            Of the rule; :attr:`unguided` is none.
        **given
            Parts and options, by the names in :attr:`needs` and :attr:`takes`.

        Raises
        ------
        TypeError
            If a name is unknown to the rule.
        ValueError
            If a part is missing.
        """
        check_model(model)
        check_scale(scale)
        known = (*self.needs, *self.takes)
        if unknown := [name for name in given if name not in known]:
            msg = (
                f"{unknown[0]}= is nothing that the rule {self.name!r} takes: it takes {', '.join(known) or 'nothing'}"
            )
            raise TypeError(msg)
        if missing := [name for name in self.needs if given.get(name) is None]:
            msg = f"the rule {self.name!r} needs {missing[0]}=: give {PARTS[missing[0]]}"
            raise ValueError(msg)
        return self.build(model, scale, **given)
