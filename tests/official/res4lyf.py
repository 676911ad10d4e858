"""Rows of RES4LYF's methods from its own function: ``python -m tests.official.res4lyf CHECKOUT FILE``.

Needs torch and a checkout of ClownsharkBatwing/RES4LYF; nothing of it is kept but numbers. For each method the weights
of its stages and its result are written as combinations of the state and of the data predictions, on two steps of noise
levels; for the multistep methods those of the step from the fourth node, with a history.
"""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np

STEPS = ((3.0, 1.7), (1.0, 0.2))
"""Noise levels of the single steps."""

LEVELS = tuple((3.0 * np.exp(-np.array([0.0, 0.5, 0.9, 1.6, 2.0]))).tolist())
"""Noise levels of the run of the multistep methods, with steps shorter than 1 in half-log-SNR."""

MULTISTEP = ("res_2m", "res_3m", "dpmpp_2m", "dpmpp_3m", "abnorsett_2m", "abnorsett_3m")


def rows(a: Any, b: Any, nodes: Any, exponential: bool, h: float, start: float) -> dict[str, Any]:
    """Stages and result over (x, D_1, ..., D_n)."""
    count = len(b)

    def combined(weights: Any, states: list[Any]) -> Any:
        row = np.zeros(count + 1)
        row[0] = 1.0
        for j, weight in enumerate(weights):
            if weight and exponential:
                row[0] -= h * weight
                row[j + 1] += h * weight
            elif weight:
                noise = states[j].copy()
                noise[j + 1] -= 1.0
                row += h * weight * noise / (start + nodes[j] * h)
        return row

    states: list[Any] = []
    for i in range(count):
        states.append(combined(a[i][:i], states))
    levels = [start * math.exp(-c * h) if exponential else start + c * h for c in nodes[:count]]
    return {"levels": levels, "stages": [s.tolist() for s in states], "x": combined(b, states).tolist()}


def main(checkout: str, out: str) -> None:
    """Write the rows of all explicit methods."""
    import torch

    folder = Path(tempfile.mkdtemp())
    package = folder / "res4lyf_rows"
    (package / "beta").mkdir(parents=True)
    for name in ("rk_coefficients_beta", "deis_coefficients", "phi_functions"):
        text = (Path(checkout) / "beta" / f"{name}.py").read_text(encoding="utf-8")
        (package / "beta" / f"{name}.py").write_text(text, encoding="utf-8")
    (package / "__init__.py").touch()
    (package / "beta" / "__init__.py").touch()
    # what the module wants of its package: options, all left at their defaults, and a printer
    helper, printer, einops = (types.ModuleType(n) for n in ("helper", "res4lyf", "einops"))
    helper.ExtraOptions = lambda _: lambda *a, **_k: a[1] if len(a) > 1 else False  # type: ignore[attr-defined]
    helper.get_extra_options_kv = lambda key, default, options: default  # type: ignore[attr-defined]
    helper.extra_options_flag = lambda key, options: False  # type: ignore[attr-defined]
    printer.get_display_sampler_category = lambda: True  # type: ignore[attr-defined]
    printer.RESplain = lambda *a, **k: None  # type: ignore[attr-defined]
    einops.rearrange = einops.einsum = None  # type: ignore[attr-defined]
    sys.modules |= {"res4lyf_rows.helper": helper, "res4lyf_rows.res4lyf": printer, "einops": einops}
    sys.path.insert(0, str(folder))
    module = importlib.import_module("res4lyf_rows.beta.rk_coefficients_beta")

    def found(name: str, levels: Any, step: int) -> dict[str, Any]:
        sigmas = torch.tensor(levels, dtype=torch.float64)
        s0, s1 = sigmas[step], sigmas[step + 1]
        exponential = module.is_exponential(name)
        h = -torch.log(s1 / s0) if exponential else s1 - s0
        a, b, _, _, nodes, past, *_ = module.get_rk_methods_beta(
            name, h, sigma=s0, sigma_next=s1, sigma_down=s1, sigmas=sigmas, step=step
        )
        numbers = [[float(w) for w in row] for row in a]
        if past and name in MULTISTEP:
            weights = [float(h) * float(w) for w in b[0]]
            return {"x": [1.0 - sum(weights), *weights]}
        return rows(numbers, [float(w) for w in b[0]], [float(c) for c in nodes], exponential, float(h), float(s0))

    commit = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    data: dict[str, Any] = {"commit": commit.stdout.strip(), "levels": LEVELS, "single": {}, "multistep": {}}
    implicit = ("gauss", "radau", "lobatto", "crouzeix", "pareschi", "qin", "kraai", "irk")
    for name in module.RK_SAMPLER_NAMES_BETA_NO_FOLDERS:
        if name.startswith(implicit) or "h2s" in name or "h3s" in name or "h4s" in name:
            continue
        if name in MULTISTEP:
            data["multistep"][name] = found(name, LEVELS, 3)
        elif not name.startswith(("deis", "abnorsett")):
            try:
                data["single"][name] = [found(name, levels, 0) for levels in STEPS]
            except UnboundLocalError as error:
                data["single"][name] = repr(error)
    Path(out).write_text(json.dumps(data) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
