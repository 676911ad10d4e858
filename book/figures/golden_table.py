"""Replay recorded official trajectories and write what the book says of them: ``python book/figures/golden_table.py``.

Leaves the counts, the largest differences and all deviations in book/results/golden.json, and two tables for the page
reference/golden in book/results/golden.md. Deviations of formulas are those of the records (``Method.deviation``);
those of the programs around the formulas are listed here.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

import diffnum as dn
from diffnum.certificates.recorded import load, replay
from diffnum.jobs.parallel import spread

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "book/results/golden.json"
PAGE = ROOT / "book/results/golden.md"
FAMILIES = {
    "dpm_solver": "DPM-Solver and DPM-Solver++",
    "dpm_solver_discrete": "the same on a table of 1000 levels",
    "unipc": "UniPC",
    "dc_solver": "DC-Solver",
    "dpm_solver_v3": "DPM-Solver-v3",
    "deis": "DEIS",
    "pndm": "PNDM (and diffusers' PNDM)",
    "ghvb": "GHVB, HB, NT and guided variants",
    "edm": "EDM",
    "k_diffusion": "k-diffusion",
    "diff_sampler": "diff-sampler",
}

SHIPPED = (
    "dpmpp_3m",
    "dpm_solver_3m",
    "dpm_solver_fast_3",
    "unip_2_bh1",
    "unipc_2_bh2",
    "unipc_3_vary",
    "deis_tab3_official",
    "deis_tab3_edm_official",
    "plms_4",
    "pndm",
    "fon",
    "ipndm_v_3",
    "ipndm_v_4",
    "ghvb_2.8",
    "hb_4_0.8",
    "mdpm2_0.8",
    "res_3s_c0.4_0.6_as_shipped",
)
"""Methods, one a formula, whose official code departs from its paper or claim."""

PROGRAMS = (
    (
        "DPM-Solver",
        "lowers the order at the end in runs of fewer than 10 steps; its docstring says 15",
        "`lower_order`",
    ),
    ("UniPC, DC-Solver, v3", "lower it in runs of any length, down to order 1 on the last step", "`lower_order`"),
    ("DPM-Solver, UniPC", "compute grids and weights in the default dtype: float32 unless it is changed", "float64"),
    ("DPM-Solver, singlestep", "takes inner nodes from a grid of the same kind, not at 1/3 and 2/3", "fixed nodes"),
    ("PNDM", "calls the network one label cleaner than the level of the state, and starts one step late", "own labels"),
    ("PNDM, F-PNDM", "truncates a middle between two labels towards the data where the skip is odd", "exact middle"),
    ("diff-sampler", "thresholds data predictions always, which changes results where they exceed 1", "a wrapper"),
    ("diff-sampler, DEIS", "fits its VP time to the levels 0.002 and 80 whatever the range of sampling", "`deis_tab`"),
    ("k-diffusion", "counts the error of step-size control over the batch: samples depend on each other", "per sample"),
    ("DC-Solver", "reads its coefficients from the first sample, and empties the list of ratios", "one plan"),
    ("DPM-Solver-v3", "snaps nodes to the knots of its statistics, whose trapezoids leave a floor", "splines"),
)
"""(code, what it does, what diffnum does by default) for the programs around the formulas."""


def difference(case: dict[str, Any]) -> float:
    """Largest difference of a final state from the recorded one, relative to it (small entries to the largest)."""
    expected = np.array(case["x_0"])
    scale = np.abs(expected) + 0.01 * np.abs(expected).max()
    return float(np.max(np.abs(replay(case) - expected) / scale))


def measure() -> dict[str, Any]:
    """Counts and largest differences by family; deviations of formulas and of programs."""
    cases = load()
    differences = [found for _, found in spread(difference, cases, 1, ordered=True)]
    rows: dict[str, dict[str, Any]] = defaultdict(lambda: {"cases": 0, "reproduced": 0, "fixed": 0.0, "adaptive": 0.0})
    for case, found in zip(cases, differences, strict=True):
        row, kind = rows[case["folder"]], "adaptive" if "adaptive" in case["solver"] else "fixed"
        row["cases"] += 1
        row["reproduced"] += found <= (1e-7 if kind == "adaptive" else 1e-9)
        row[kind] = max(row[kind], found)
    records = [dn.method(name) for name in SHIPPED]
    formulas = [
        {"name": r.name, "title": r.title, "deviation": r.deviation, "claimed": r.claimed_order,
         "orders": [r.order_on(kind) for kind in ("uniform", "smooth", "irregular")], "corrected": r.corrected}
        for r in records
    ]  # fmt: skip
    programs = [dict(zip(("code", "does", "instead"), row, strict=True)) for row in PROGRAMS]
    return {"version": dn.__version__, "families": dict(rows), "formulas": formulas, "programs": programs}


def page(found: dict[str, Any]) -> str:
    """Tables in MyST."""
    lines = ["| family | cases | reproduced | largest relative difference |", "| --- | ---: | ---: | ---: |"]
    rows = found["families"]
    for folder, title in FAMILIES.items():
        row = rows[folder]
        worst = f"{row['fixed']:.0e}" + (f"; {row['adaptive']:.0e} with step-size control" if row["adaptive"] else "")
        lines.append(f"| {title} | {row['cases']} | {row['reproduced']} | {worst} |")
    total, held = (sum(row[key] for row in rows.values()) for key in ("cases", "reproduced"))
    lines += [f"| **all** | **{total}** | **{held}** | |", "", "Deviations of formulas:", ""]
    lines += [
        '| as shipped, and corrected | claimed | proved | what differs<span class="strut"></span> |',
        "| --- | ---: | ---: | --- |",
    ]
    for r in found["formulas"]:
        orders = r["orders"]
        proved = str(orders[0]) if len(set(orders)) == 1 else "\u00a0/\u00a0".join(map(str, orders))
        better = f"<br>`{r['corrected']}`" if r["corrected"] else ""
        lines.append(f"| `{r['name']}`{better} | {r['claimed']} | {proved} | {r['deviation']} |")
    lines += ["", "Deviations of the programs around them:", ""]
    lines += [
        '| code | what it does<span class="strut"></span> | here<span class="strut"></span> |',
        "| --- | --- | --- |",
    ]
    lines += [f"| {r['code']} | {r['does']} | {r['instead']} |" for r in found["programs"]]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Replay, and write both files."""
    found = measure()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
