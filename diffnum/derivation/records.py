"""What derivations and proofs return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias

import sympy

from diffnum.derivation.printing.formulas import Formula
from diffnum.jobs.shown import short, table_html
from diffnum.tableau import Step, Window

__all__ = ["Derivation", "Derive", "Derived", "Entry", "Identity", "Line", "OnBases", "Proof", "Residuals", "Scheme"]


@dataclass(frozen=True)
class Line:
    """One line of an argument.

    Parameters
    ----------
    text : str
        What is done.
    equation : str
        LaTeX of what comes out; may be empty.
    """

    text: str
    equation: str = ""


@dataclass(frozen=True)
class Derived:
    """What a derivation returns.

    Parameters
    ----------
    step : Step
        The step, in the arithmetic of the window.
    argument : tuple of Line
        The derivation, told as it was run.
    asymptotic : tuple of str
        Conditions that the authors' ansatz meets in the limit h -> 0 only, or not at all.
    """

    step: Step
    argument: tuple[Line, ...] = ()
    asymptotic: tuple[str, ...] = field(default=())


Derive: TypeAlias = Callable[[Window, int, "int | None"], Derived]
"""``derive(window, order, rate) -> Derived``."""

Entry: TypeAlias = Literal["path", "sigma", "after", "before", "increment"]
"""Where the draws of a step enter: along it, as the increments of one path of the equation, or of one in another clock;
after all evaluations; before them; one for the whole step, which no exact integral gives."""


@dataclass(frozen=True)
class Scheme:
    """A way to bring in noise.

    Parameters
    ----------
    derive : callable
        ``derive(base, window, order, symbols) -> Derived`` from the derivation ``base`` of the part without noise,
        in a field of the reverse equation.
    entry : {"path", "sigma", "after", "before", "increment"}
        Where the draws of a step enter. Noise before or after all evaluations keeps exact marginals, between steps of
        the flow.
    parameter : {"tau", "eta", "scale", "level"}
        What its rules call the noise level: that of the equation, on a whole step; eta, which stands for one that
        depends on the step; a function that gives it; or a number for which ``stands_for`` says so.
    level : int, optional
        Level at which it is derived, where its weights are known in closed form at no other.
    keeps : bool
        Whether known data keep their law in each step.
    stands_for : callable, optional
        ``stands_for(s_0, exp(-h), exp(-tau^2 h), square_root)``: the parameter ``level`` of a step from the flow time
        s_0 that keeps the share ``exp(-tau^2 h)`` of the old noise.
    """

    derive: Callable[..., Derived]
    entry: Entry
    parameter: Literal["tau", "eta", "scale", "level"]
    level: int | None = None
    keeps: bool = True
    stands_for: Callable[..., Any] | None = None

    @property
    def splits(self) -> bool:
        """Whether noise stands between steps of the flow."""
        return self.entry in ("after", "before")


@dataclass(frozen=True)
class OnBases:
    """A function of a family that builds on other families, which it takes as ``bases``.

    Parameters
    ----------
    function : callable
        ``function(..., bases=)`` with a mapping from families to what the other families define.
    """

    function: Callable[..., Any]

    def __call__(self, *args: Any, bases: Mapping[str, Any], **options: Any) -> Any:
        """Call the function."""
        return self.function(*args, bases=bases, **options)

    def on(self, bases: Mapping[str, Any]) -> Callable[..., Any]:
        """Return the function with its bases."""
        return partial(self.function, bases=dict(bases))  # a read-only view would not pickle


@dataclass(frozen=True)
class Derivation:
    """A method as derived.

    Parameters
    ----------
    name : str
        Name in the catalogue.
    step : Step
        The step with exact weights (:class:`~diffnum.derivation.algebra.symbols.Exact`).
    weights : mapping of str to mapping of str to sympy expression
        Row (``k1, k2, ...`` the stages, ``x`` the state, then memory) -> vector -> weight, in ``h``, ``u_1, ...`` and
        real exponentials. Weights of evaluations multiply the gain of the form at the node of the row.
    argument : tuple of Line
        The derivation as it was run; ``text`` and LaTeX ``equation``.
    asymptotic : tuple of str
        Conditions that the authors' ansatz meets in the limit h -> 0 only, or not at all.
    error_constant : sympy expression
        Leading coefficient of the quadrature error: exact minus computed step is this times ``h^(p+1) M^(p)``, the
        p-th derivative of the prediction along the solution, and further elementary differentials (``error_terms``).
        On constant steps where the order is lower on others.
    error_terms : mapping of str to sympy expression
        Coefficient of ``h^(p+1)`` for each elementary differential, by its tree in bracket notation, in the clock
        whose kernel is constant.
    formula : Formula
        The step in phi functions, for print.
    strong_constant : sympy expression, optional
        Of a stochastic method, q > 0 in the variance 2 tau^2 q h^3 J^2 (in units of sigma^2) that the noise leaves in
        the local error on a shared path, J the slope of the drift in the state; constant steps, later ones included.
    """

    name: str
    step: Step = field(repr=False)
    weights: Mapping[str, Mapping[str, sympy.Expr]]
    argument: tuple[Line, ...] = field(repr=False)
    asymptotic: tuple[str, ...]
    error_constant: sympy.Expr
    error_terms: Mapping[str, sympy.Expr] = field(repr=False)
    formula: Formula = field(repr=False)
    strong_constant: sympy.Expr | None = None

    def __repr__(self) -> str:
        """Short form; :meth:`latex` and ``argument`` say more."""
        return short("Derivation", self.name, rows=[*self.weights], error_constant=str(self.error_constant))

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex()}\n$$"

    @property
    def entries(self) -> tuple[tuple[str, str], ...]:
        """(row, vector) of the weights that :meth:`code` returns, in order."""
        return self.formula.entries

    def latex(self) -> str:
        """Formula of the step, typeset as papers do, one row a line."""
        return self.formula.latex()

    def code(self, language: str = "python") -> str:
        """Stand-alone function for the weights, accurate for small steps too.

        Parameters
        ----------
        language : {"python", "c", "julia", "rust", "latex"}
            Language of the text.

        Raises
        ------
        ValueError
            If the language is not available.
        """
        return self.formula.code(language)


@dataclass(frozen=True)
class Identity:
    """One statement that was decided.

    Parameters
    ----------
    claim : str
        The statement.
    ok : bool
        Whether it holds.
    detail : str
        What differs, where it does not.
    """

    claim: str
    ok: bool
    detail: str = ""


@dataclass(frozen=True)
class Residuals:
    """Terms of size ``h**order`` in the local error, over all rooted trees that have such terms.

    Parameters
    ----------
    grid : str
        Kind of grid: constant, smoothly varying or irregular steps in the clock of the form.
    order : int
        Power of h; terms up to ``p`` vanish and those of ``p + 1`` do not in a method of order p.
    trees : int
        Rooted trees with at most ``order`` nodes.
    zero : bool
        Whether all these terms vanish.
    example : str
        A tree with its coefficient, where they do not.
    """

    grid: str
    order: int
    trees: int
    zero: bool
    example: str = ""


@dataclass(frozen=True)
class Proof:
    """Outcome of :func:`diffnum.proofs.prove`.

    Parameters
    ----------
    name : str
        Name of the method.
    ok : bool
        Whether everything holds, the order of the record included.
    identities : tuple of Identity
        Equalities between derived, shipped and published weights, and theorems on relatives.
    residuals : tuple of Residuals
        Per grid and power of h.
    order : int
        Order proved on smoothly varying steps; -1 where it could not be.
    orders : mapping of str to int
        Order proved by kind of grid.
    seconds : float
        Time taken.
    """

    name: str
    ok: bool
    identities: tuple[Identity, ...]
    residuals: tuple[Residuals, ...]
    order: int
    orders: Mapping[str, int]
    seconds: float

    def __repr__(self) -> str:
        """Short form; ``str`` has all that was decided."""
        return short("Proof", self.name, ok=self.ok, order=self.order)

    def _repr_html_(self) -> str:
        rows = [("holds" if i.ok else "fails", i.claim, i.detail) for i in self.identities]
        rows += [
            ("vanish" if r.zero else "remain", f"terms of size h^{r.order} on {r.grid} steps", r.example)
            for r in self.residuals
        ]
        state = "proved" if self.ok else "NOT proved"
        return table_html(("", "statement", ""), rows, f"{self.name}: {state}, order {self.order}")

    def __bool__(self) -> bool:
        """Whether the proof succeeded."""
        return self.ok

    def __str__(self) -> str:
        lines = [f"{self.name}: {'proved' if self.ok else 'NOT proved'}, order {self.order} ({self.seconds:.2f} s)"]
        lines += [
            f"  {'ok ' if i.ok else 'NO '} {i.claim}{f': {i.detail}' if i.detail else ''}" for i in self.identities
        ]
        for r in self.residuals:
            state = "vanish" if r.zero else f"do not vanish, {r.example}"
            lines.append(f"  {r.grid}: terms of size h^{r.order} ({r.trees} trees) {state}")
        return "\n".join(lines)
