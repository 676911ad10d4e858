"""Found plans beside the best of the catalogue, on noises that no fit has seen: error, Frechet distance, transfer.

    python tests/benchmarks/found_plans.py toy_models/plans/*.json [--n 256] [--seed 1] [--transfer] [--json FILE]
        [--cache FILE] [--tolerance 1e-3] [--screened 4:64,16:16]

For each plan file: its error (root mean square distance from a converged run, relative) over that of the best of all
catalogue methods x all grids at the same evaluations, on the same noises; both Frechet distances to the converged set
in the features of the network; the median of the distances of single samples, and what share of the mean square the
worst twentieth of them has; a bootstrap interval of the ratio; with --transfer the ratio again where the plan was not
found: with classes, and under guidance. Each row is written to --json as it is known, beside the rows of other plans
that the file has; --cache keeps end points and errors, so that rows of one network share them and a stopped run goes
on.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import diffnum as dn
from diffnum.calibration.hosts import host_of
from diffnum.calibration.rivals import Samples, catalogue_plans, endpoint_error, ranked
from diffnum.calibration.teachers import converged_samples
from diffnum.jobs.files import write_text
from diffnum.jobs.ledger import digest
from diffnum.models.quality.features import features_for
from diffnum.models.quality.metrics import frechet_distance

SCREENED = "4:64,16:16"
"""On how many noises all plans of the catalogue are tried, and how many of them are left; those are tried on all."""


def model_of(found_for: dict[str, Any]) -> tuple[Any, Any]:
    """Network and label for which a plan was found."""
    model = dn.load(found_for["model"])
    label = found_for.get("label")
    if "guidance" in found_for:
        model = dn.guidance.classifier_free(model, found_for["guidance"])
    return model, label


def distances(plan: dn.Plan, samples: Samples) -> np.ndarray:
    """Distance of each sample from its end point, relative to the root mean square of all end points, shape (n,)."""
    found = []
    for part, x, target in zip(samples.parts, samples.x, samples.target, strict=True):
        off = samples.host.numpy(dn.solve(plan, part, x)) - samples.host.numpy(target)
        found.append(np.linalg.norm(off.reshape(len(off), -1), axis=1))
    return np.concatenate(found) / np.sqrt(samples.size / samples.count)


def interval(mine: np.ndarray, other: np.ndarray, draws: int = 2000) -> list[float]:
    """Range in which nine tenths of the ratios lie, were the noises drawn again from themselves."""
    drawn = np.random.default_rng(0).integers(0, len(mine), (draws, len(mine)))
    ratios = np.sqrt((mine[drawn] ** 2).sum(axis=1) / (other[drawn] ** 2).sum(axis=1))
    return [float(end) for end in np.quantile(ratios, [0.05, 0.95])]


def held(plan: dn.Plan, model: Any, label: Any, words: argparse.Namespace, features: bool) -> dict[str, Any]:
    """Error of a plan beside the best of the catalogue on one model."""
    host = host_of(model, label=label)
    ends = float(plan.times[0]), float(plan.times[-1])
    n = words.n
    samples = converged_samples(host, ends, n, words.seed, tolerance=words.tolerance, cache=words.cache)
    rivals = catalogue_plans(model.schedule, ends, plan.nfe)
    for count, kept in (map(int, pair.split(":")) for pair in words.screened.split(",")):
        rivals = ranked(rivals, samples.head(min(count, n)))[:kept]
    best = ranked(rivals, samples)[0]
    error = endpoint_error(plan, samples)
    found: dict[str, Any] = {"error": error, "best": best.name, "best_error": best.error, "ratio": error / best.error}
    far = {name: distances(one, samples) for name, one in (("", plan), ("best_", best.plan))}
    found["interval"] = interval(far[""], far["best_"])
    for name, each in far.items():
        found[f"{name}median"] = float(np.median(each))
        found[f"{name}share_of_worst"] = float((np.sort(each)[-max(1, n // 20) :] ** 2).sum() / (each**2).sum())
    if features:
        seen = features_for(model, "auto")

        def embedded(numbers: dn.Plan) -> Any:
            parts = zip(samples.parts, samples.x, strict=True)
            return seen(model, torch.cat([dn.solve(numbers, part, x) for part, x in parts]))

        target = seen(model, torch.cat(samples.target))
        found["frechet"] = frechet_distance(embedded(plan), target)
        found["best_frechet"] = frechet_distance(embedded(best.plan), target)
    return found


def written(path: Path, row: dict[str, Any]) -> None:
    """Put a row into a file of rows, in the place of that of the same plan on the same model."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    where = [i for i, one in enumerate(rows) if (one["plan"], one["on"]) == (row["plan"], row["on"])]
    rows[slice(where[0], where[0] + 1) if where else slice(len(rows), None)] = [row]
    text = json.dumps({"version": dn.__version__, "rows": rows}, indent=1)
    write_text(path, text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", nargs="+", type=Path)
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transfer", action="store_true", help="also where the plan was not found")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-3, help="what twice the teacher's steps may change")
    parser.add_argument("--screened", default=SCREENED, help="noises:plans left, in turn")
    parser.add_argument("--cache", type=Path)
    words = parser.parse_args()
    numbers = f"{'error':>9}{'best':>9}{'ratio':>7}{'Frechet':>9}{'best':>9}"
    print(f"{'plan':<24}{'on':<22}{'nfe':>4}{numbers}  best of the catalogue")
    for path in sorted(words.plans, key=lambda p: (p.stem.rsplit("-", 1)[0], dn.Plan.from_json(p).nfe)):
        plan = dn.Plan.from_json(path)
        model, label = model_of(dict(plan.found_for or {}))
        places = {"its own": (model, label)}
        if words.transfer and model.num_classes is not None:
            places |= {"every class in turn": (dn.load(model.name), "each")}
            for scale in (2.0, 4.0):
                places[f"guidance {scale:g}"] = (dn.guidance.classifier_free(dn.load(model.name), scale), "each")
        for place, (where, its_label) in places.items():
            bare = replace(plan, found_for=None)  # that it was found elsewhere is the point
            row = {"plan": path.stem, "on": place, "nfe": plan.nfe, "n": words.n, "seed": words.seed}
            row["digest"] = digest(bare.to_dict())
            row |= held(bare, where, its_label, words, place == "its own")
            row["command"] = shlex.join(["python", "tests/benchmarks/found_plans.py", *sys.argv[1:]])
            if words.json is not None:
                written(words.json, row)
            laws = [f"{row[k]:>9.3g}" if k in row else " " * 9 for k in ("frechet", "best_frechet")]
            numbers = f"{row['error']:>9.4f}{row['best_error']:>9.4f}{row['ratio']:>7.2f}{''.join(laws)}"
            print(f"{path.stem:<24}{place:<22}{plan.nfe:>4}{numbers}  {row['best']}", flush=True)


if __name__ == "__main__":
    main()
