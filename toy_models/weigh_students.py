"""Measure the distilled students beside plans and catalogue at the same evaluations, and write their cards.

    python -m toy_models.weigh_students --out book/results/distilled-digits.json
    python -m toy_models.weigh_students digits-meanflow --out ...       # one student again; other rows are kept

Everything is measured against the flow of the teacher from noises that nothing was trained on: the error of the
endpoints, and the Frechet distance of the sets in the features that ship with the teacher.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from sklearn.svm import SVC

import diffnum as dn
from diffnum.calibration.hosts import host_of
from diffnum.calibration.rivals import catalogue_plans, ranked
from diffnum.calibration.teachers import converged_samples
from diffnum.models.quality.features import features_for
from diffnum.models.quality.metrics import frechet_distance
from diffnum.models.runs.sampling import initial_noise, sample
from diffnum.models.runs.students import bound_to_plan
from diffnum.plans import plan_for
from toy_models.distil import ENDS, HERE, RECIPES, TEACHER, carried
from toy_models.features import script

PLANS = HERE / "plans"
COUNTS = (1, 2, 4)
RIVALS = "best of the catalogue"


def flow_of(module: torch.nn.Module, noise: torch.Tensor, ends: tuple[float, float]) -> torch.Tensor:
    """End points of the teacher's flow: 64 midpoint steps, within 1e-3 of 128."""
    here, there = (torch.full((len(noise),), end) for end in ends)
    null = torch.full((len(noise),), 10)
    with torch.no_grad():
        target: torch.Tensor = carried(module, noise, here, there, null, 64)
    return target


def rows_of(names: list[str], count: int, seed: int) -> list[dict[str, Any]]:
    """Error, Frechet distance and evaluations of students, and of their rivals at 1, 2 and 4 evaluations."""
    model = dn.load(TEACHER)
    noise = initial_noise(count, model.sample_shape, seed)
    low, high = (float(model.schedule.half_log_snr(t)) for t in ENDS)
    target = flow_of(model.module, noise, (low, high))
    features = features_for(model)
    reference = features(model, target)

    def row(name: str, plan: Any, network: Any = model, **more: Any) -> dict[str, Any]:
        made = dn.solve(plan, bound_to_plan(network, plan), noise)
        gap = float((made.double() - target.double()).norm() / target.double().norm())
        distance = frechet_distance(features(model, made), reference)
        found = {"sampler": name, "nfe": len(plan.steps), "error": gap, "frechet": distance} | more
        print(found, flush=True)
        return found

    rows = []
    for nfe in COUNTS if RIVALS in names else ():
        samples = converged_samples(host_of(model), ENDS, 128, seed + 1)  # the method is chosen on other noises
        best = ranked(ranked(catalogue_plans(model.schedule, ENDS, nfe), samples.head(32))[:8], samples)[0]
        rows.append(row(RIVALS, best.plan, method=best.name))
        file = PLANS / f"toy-digits-{nfe}.json"
        if file.exists():
            rows.append(row("found plan", dn.Plan.from_json(file)))
    for name in (name for name in RECIPES if name in names):
        student = dn.load(f"toy/{name}")
        for nfe in student.trained_steps:
            plan = plan_for(student, "ddim", nfe, grid="uniform_half_log_snr")
            rows.append(row(name, plan, student))
    return rows


def agreement(name: str, per_class: int = 100) -> float:
    """How often a classifier of the training images reads samples with a label right, at the fewest steps."""
    source = script("digits")
    images, labels = source.digits()
    reader = SVC(gamma=0.02, C=10.0).fit(images[source.HELD_OUT :].flatten(1), labels[source.HELD_OUT :])
    asked = torch.arange(10).repeat_interleave(per_class)
    made = sample(dn.load(f"toy/{name}").conditioned(asked), n=len(asked), seed=5, batch=len(asked))
    return float(reader.score(made.flatten(1), asked))


def draw(out: Path, name: str, steps: int) -> None:
    """Loss curve, and samples: one column a digit and last the unconditional ones."""
    with (out / "loss_curve.csv").open() as handle:
        curve = [(int(r["step"]), float(r["loss"])) for r in csv.DictReader(handle)]
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    axes.plot(*zip(*curve, strict=True))
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    figure.savefig(out / "loss_curve.png", dpi=100)
    plt.close(figure)
    student = dn.load(f"toy/{name}")
    columns = [student.conditioned(k) for k in range(10)] + [student.conditioned(None)]
    images = torch.stack([sample(part, steps=steps, n=8, seed=0) for part in columns], dim=1)[:, :, 0]
    grid = torch.nn.functional.pad(images, (1, 1, 1, 1), value=0.0).permute(0, 2, 1, 3).reshape(80, 110)
    figure = plt.figure(figsize=(7.7, 5.6), frameon=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(grid, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    figure.savefig(out / "samples.png", dpi=100)
    plt.close(figure)


def write_card(name: str, rows: list[dict[str, Any]]) -> None:
    """Figures, what was measured, and the README."""
    out = HERE / name
    config = json.loads((out / "config.json").read_text())
    steps = config["trained_steps"]
    draw(out, name, min(steps))
    own = [r for r in rows if r["sampler"] == name]
    config["measured"] = {"samples_read_right": agreement(name), "against_the_teacher": own}
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    rivals = {name: "this student"} | {rival: rival for rival in (RIVALS, "found plan")}
    beside = [r for r in rows if r["nfe"] in steps and r["sampler"] in rivals]
    table = "\n".join(
        f"| {r['nfe']} | {rivals[r['sampler']]} | {r['error']:.3f} | {r['frechet']:.3g} |"
        for r in sorted(beside, key=lambda r: (r["nfe"], r["error"]))
    )
    jumps = (
        "* It jumps from any noise level to any cleaner one: `dn.sample` and `diffnum sample` bind the times of\n"
        "  the run, by hand it is `model.towards(times)`. Unbound it jumps to the end. The second level enters\n"
        "  through a small network of its own.\n"
        if config["network"]["jump_end"] is not None
        else ""
    )
    many = " or ".join(map(str, steps)) + (" step" if steps == [1] else " steps")
    values = {
        **config["training"],
        **config["network"],
        "id": config["id"],
        "name": name,
        "parameters": config["parameters"],
    }
    text = (
        (HERE / "student_card.md.in")
        .read_text()
        .format(
            **values,
            many=many,
            fewest=min(steps),
            jumps=jumps,
            bytes=(out / config["weights"]).stat().st_size,
            read_right=config["measured"]["samples_read_right"],
            table=table,
        )
    )
    (out / "README.md").write_text(text)


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"students, and {RIVALS!r}, to measure anew; all by default")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=512, help="noises for the evaluation")
    parser.add_argument("--seed", type=int, default=7)
    words = parser.parse_args()
    torch.set_num_threads(1)
    known = [*RECIPES, RIVALS]
    names = [name for name in known if not words.names or name in words.names]
    rows = rows_of(names, words.n, words.seed)
    if words.names:
        anew = {r["sampler"] for r in rows}
        rows = [r for r in json.loads(words.out.read_text())["rows"] if r["sampler"] not in anew] + rows
    about = features_for(dn.load(TEACHER)).about
    command = f"python -m toy_models.weigh_students --n {words.n} --out book/results/distilled-digits.json"
    record = {"command": command, "model": TEACHER, "seed": words.seed, "features": about, "rows": rows}
    words.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for name in set(names) & set(RECIPES):
        write_card(name, rows)


if __name__ == "__main__":
    main()
