"""Measure the law that each guidance rule samples on mixtures, and leave it in book/results/guidance_law.json.

``python book/figures/guidance_law.py`` takes a minute. Every rule of ``dn.guidance.RULES`` at equal distance of
the scale from its unguided one, on two overlapping classes in the plane; CFG++ at numbers of its own. Rules on the line
that have no other class to project on: minority guidance, and classifiers of clean data with and without the Jacobian.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import diffnum as dn
from diffnum.guidance import RULES, GuidanceStudy, guidance_study, guided_law, minority_classifier, minority_guidance

RESULTS = Path(__file__).resolve().parents[1] / "results/guidance_law.json"
SCHEDULE = dn.schedules.VPLinear()
PLANE = dn.GaussianMixture(
    [0.25] * 4, [[0.8, 0.5], [0.8, -0.5], [-0.8, 0.5], [-0.8, -0.4]], [0.2] * 4, labels=[0, 0, 1, 1]
)
"""Two classes of two round components, which overlap."""
LINE = dn.GaussianMixture([0.4, 0.6], [[-1.0], [1.0]], [0.5, 0.7], labels=[0, 1])
"""Two classes on the line."""
MORE = (0.5, 1.0, 3.0)
"""How much the scale of a rule exceeds the one at which it changes nothing."""
STEPS = (10,)
NODES = {"line": 401, "plane": 21}
METHODS = ("ddim", "dpmpp_2m", "dpmpp_3m_corrected")


def told(study: GuidanceStudy) -> dict[str, Any]:
    """A study as it is written."""
    rows = [{k: None if v != v else v for k, v in asdict(row).items()} for row in study.rows]
    return {"claim": study.claim, "rows": rows, "target_accuracy": [*study.target_accuracy.values()]}


def plane() -> dict[str, Any]:
    """Every rule in the plane, held to the class and, where it has one, to its power."""
    found: dict[str, Any] = {}
    for name, rule in RULES.items():
        if name == "minority":
            continue
        step = name == "cfg_plus_plus"
        scales = (0.3, 0.6, 1.0) if step else [rule.unguided + more for more in MORE]
        method = "ddim" if step else "dpmpp_2m"
        options: dict[str, Any] = {"steps": STEPS, "method": method, "nodes": NODES["plane"]}
        if name == "clean_classifier":
            options |= {"temperatures": (1.0, 1.0), "jacobian": True}
        found[name] = told(guidance_study(rule, PLANE, 0, scales, **options))
        print(name, flush=True)
    return found


def clean() -> dict[str, Any]:
    """Classifiers of clean data on the line: with and without the Jacobian, and with two temperatures."""
    variants = {
        "noisy states": ("classifier", {}),
        "with Jacobian": ("clean_classifier", {"temperatures": (1.0, 1.0), "jacobian": True}),
        "without": ("clean_classifier", {"temperatures": (1.0, 1.0), "jacobian": False}),
        "without, temperatures 1 and 1/2": ("clean_classifier", {"temperatures": (1.0, 0.5), "jacobian": False}),
    }
    return {
        title: told(guidance_study(rule, LINE, 1, (0.5, 1.0, 2.0), steps=(20,), nodes=NODES["line"], **options))
        for title, (rule, options) in variants.items()
    }


def orders() -> dict[str, Any]:
    """Methods of one, two and three on classifier-free guidance of weight 3, against the limit and the target."""
    return {
        m: told(
            guidance_study(
                "classifier_free", LINE, 1, (1.0, 3.0), steps=(5, 10, 20, 40, 80), method=m, nodes=NODES["line"]
            )
        )
        for m in METHODS
    }


def minority() -> dict[str, Any]:
    """Share of the most unusual third, against the weight."""
    judge = minority_classifier(LINE, SCHEDULE, 0.4, count=3)
    numbers = dn.plan("dpmpp_2m", SCHEDULE, dn.grids.uniform_half_log_snr(SCHEDULE, 160))
    rows = []
    for w in (0.0, 0.5, 1.0, 2.0):
        law = guided_law(minority_guidance(LINE.denoiser(SCHEDULE), judge, w), numbers, 1, nodes=NODES["line"])
        share = float(law.shares @ (judge.labels(law.points) == 2))
        # p(x) P(l | x)^w is the restricted law for every w > 0: of data the labels are certain
        rows.append({"scale": w, "share": share, "claimed": 1.0 if w else 1.0 / 3.0})
    return {"edges": judge.edges.tolist(), "regions": [int(k) for k in judge.regions], "rows": rows}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    results = {
        "version": dn.__version__,
        "more": MORE,
        "orders": orders(),
        "clean": clean(),
        "minority": minority(),
        "plane": plane(),
    }
    chosen.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {chosen.out}")


if __name__ == "__main__":
    main()
