"""Guide and steer the toy networks, and leave numbers in book/results and pictures in book/static.

``python book/figures/guidance_networks.py`` takes a few minutes on a CPU; ``--only rules`` or ``--only toy/digits``
renews a part. Every rule once on ``toy/emoji-32``; rewards of a class, and two classes at once, on ``toy/digits`` and
``toy/emoji-32``, beside the best of as many plain samples as cost the same evaluations. Rewards are log-probabilities
by the shipped classifier of data, which also chooses the best; samples are judged by the other one, of noisy states.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from guidance import rounded

import diffnum as dn
from diffnum.guidance import RULES, minority_score
from diffnum.guidance.classifier import log_softmax
from diffnum.models import load_classifier, perturbed_attention
from diffnum.models.runs.sampling import initial_noise
from diffnum.particles import product, run, steered
from diffnum.plans import plan_for
from diffnum.plot import image_grid

BOOK = Path(__file__).resolve().parents[1]
RESULTS = BOOK / "results/guidance_networks.json"
SCALES = {
    "classifier_free": 4.0, "rescaled": 4.0, "interval": 4.0, "cfg_plus_plus": 0.6, "projected": 4.0, "zero_star": 4.0,
    "autoguidance": 2.0, "perturbed_attention": 2.0, "classifier": 3.0, "clean_classifier": 3.0, "gradient_free": 3.0,
    "guide_and_rescale": 4.0, "minority": 6.0,
}  # fmt: skip
"""Scale of each rule, of the size that is usual for it."""
STEPS = 20
PAIRS = {"toy/digits": (3, 8), "toy/emoji-32": (1, 2)}
"""Two classes that are asked for at once: threes and eights; animals and food."""
SIZES = {"toy/digits": (32, 8), "toy/emoji-32": (10, 4)}
"""Searches, and particles of each."""
SHOWN = 10


# ---------------------------------------------------------------- every rule once


def rules(name: str = "toy/emoji-32", each: int = 2) -> dict[str, Any]:
    """Every rule from the same noise, ``each`` images a class: numbers, and one row a rule of the picture."""
    bare = dn.load(name)
    labels = [i // each for i in range(each * bare.num_classes)]
    model = bare.conditioned(labels)
    ends = {"t_start": model.default_t_start, "t_end": model.default_t_end}
    grid = dn.grids.uniform_half_log_snr(model.schedule, STEPS, **ends)
    judges = {kind: load_classifier(bare, kind) for kind in ("noisy", "clean", "minority")}
    kinds = {"states": "noisy", "data": "clean", "minority": "minority"}
    parts: dict[str, Callable[[str], Any]] = {
        "weak": lambda _: rounded(dn.load(name), model),
        "perturbed": lambda _: perturbed_attention(model),
        "interval": lambda _: (0.3, 5.0),
        "grid": lambda _: grid,
        "classifier": lambda rule: judges[kinds[RULES[rule].judges]],
        "guiders": lambda _: (smooth,),
    }
    n, middle = len(labels), float(model.schedule.time(0.0))

    def told(x: torch.Tensor) -> dict[str, float]:
        """Share that each classifier reads as asked, largest value, distance from no guidance, minority score."""
        right = {f"read_by_{k}": share_right(judges[k], x, labels) for k in ("noisy", "clean")}
        return {
            **right,
            "largest": float(x.abs().max()),
            "distance": float(((x - plain) ** 2).mean().sqrt() / (plain**2).mean().sqrt()),
            "minority_score": float(minority_score(bare, x, middle, draws=4).mean()),
        }

    plain = dn.sample(model, "dpmpp_2m", STEPS, n=n, seed=3)
    found: dict[str, Any] = {"none": told(plain)}
    rows = [bare.to_image(plain)]
    for rule, scale in SCALES.items():
        record = RULES[rule]
        guided = record(model, scale, **{part: parts[part](rule) for part in record.needs})
        x = dn.sample(guided, "ddim" if rule == "cfg_plus_plus" else "dpmpp_2m", STEPS, n=n, seed=3)
        found[rule] = {"scale": scale, "judges": record.judges, **told(x)}
        rows.append(bare.to_image(x))
        print(rule, found[rule], flush=True)
    (BOOK / "static/guidance-rules.png").write_bytes(image_grid(np.concatenate(rows), n))
    return {"steps": STEPS, "images": n, "rows": found}


def share_right(judge: Any, x: torch.Tensor, labels: Sequence[int]) -> float:
    """Share of the images that a classifier reads as asked."""
    return float((judge(x, None).argmax(1) == torch.tensor(list(labels))).float().mean())


def smooth(x: torch.Tensor, _: Any) -> torch.Tensor:
    """Gradient of half the squared differences of neighbouring pixels: a guider that asks for smooth pictures."""
    total = torch.zeros_like(x)
    for axis in (-1, -2):
        gap, edge = torch.diff(x, dim=axis), torch.zeros_like(x.narrow(axis, 0, 1))
        total = total + torch.cat([edge, gap], axis) - torch.cat([gap, edge], axis)
    return total


# ---------------------------------------------------------------- rewards and products


def steering(name: str) -> dict[str, Any]:
    """Class rewards and two classes at once, from the network without a class, at equal evaluations."""
    bare, (searches, count) = dn.load(name), SIZES[name]
    clean, judge = load_classifier(bare, "clean"), load_classifier(bare, "noisy")
    first, second = PAIRS[name]
    plan, free = plan_for(bare, "sde_dpmpp_2m", STEPS), bare.conditioned(None)

    def started(number: int) -> torch.Tensor:
        noise = initial_noise(searches * count, bare.sample_shape, 5 + number)
        return float(bare.schedule.sigma(float(plan.times[0]))) * noise

    def log_of(*wanted: int) -> Callable[[Any], Any]:
        return lambda images: log_softmax(clean(images, None))[:, list(wanted)].sum(1)

    pair = product((bare.conditioned(first), bare.conditioned(second), free), (1.0, 1.0, -1.0), rule="left")
    one, both = log_of(first), log_of(first, second)
    subjects = {
        "one class, reward": (steered(free, one, 1.0), one, 1),
        "two classes, rewards": (steered(free, both, 1.0), both, 1),
        "two classes, product": (pair, both, 3),
    }
    # Plain samples, in groups of as many evaluations as a population takes of the network; the largest has three.
    plain = torch.cat([run(plan, free, searches * count, x=started(k), seed=70 + k).x for k in range(3)])
    plain = plain.reshape(3, searches, count, *bare.sample_shape).transpose(0, 1).flatten(1, 2)

    def told(x: torch.Tensor) -> dict[str, float]:
        chances = log_softmax(judge(x, None)).exp()[:, [first, second]]
        lesser = chances.min(1).values
        error = float(lesser.std() / len(x) ** 0.5)
        return {"first": float(chances[:, 0].mean()), "lesser": float(lesser.mean()), "lesser_error": error}

    shown = min(SHOWN, searches)
    rows = [bare.to_image(plain[:shown, 0])]
    found: dict[str, Any] = {"particles": count, "searches": searches, "steps": STEPS, "plain": told(plain[:, 0])}
    for what, (sampler, reward, networks) in subjects.items():
        pop = run(plan, sampler, searches * count, x=started(0), seed=7, islands=searches)
        kept = one_each(pop, searches)
        candidates = plain[:, : networks * count]
        values = reward(candidates.flatten(0, 1)).reshape(searches, -1)
        best = candidates[torch.arange(searches), values.argmax(1)]
        sizes = [dn.particles.effective_size(part) for part in pop.log_weights.reshape(searches, count)]
        found[what] = {
            "evaluations": networks * count * plan.nfe,
            "particles": told(kept),
            "best_of": told(best),
            "effective_share": float(np.mean(sizes) / count),
            "ancestors": float(np.mean([len(set(part)) for part in pop.roots.reshape(searches, count)])),
        }
        rows += [bare.to_image(kept[:shown]), bare.to_image(best[:shown])]
        print(name, what, found[what], flush=True)
    path = BOOK / f"static/guidance-steering-{name.removeprefix('toy/')}.png"
    path.write_bytes(image_grid(np.concatenate(rows), shown))
    return found


def one_each(pop: Any, searches: int) -> torch.Tensor:
    """One particle of each search, drawn in proportion to its weight."""
    logs = pop.log_weights.reshape(searches, -1)
    total = np.cumsum(np.exp(logs - logs.max(1, keepdims=True)), axis=1)
    chosen = (total < np.random.default_rng(0).random((searches, 1)) * total[:, -1:]).sum(1)
    return pop.x[torch.as_tensor(chosen + np.arange(searches) * logs.shape[1])]


def main() -> None:
    """Measure, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("rules", *PAIRS), help="renew this part and keep the rest of the file")
    chosen = parser.parse_args()
    measured = rules() if chosen.only in (None, "rules") else None
    steered_to = {name: steering(name) for name in PAIRS if chosen.only in (None, name)}
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if chosen.only and RESULTS.exists() else {}
    results = {
        "version": dn.__version__,
        "rules": measured or kept.get("rules", {}),
        "steering": {**kept.get("steering", {}), **steered_to},
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {RESULTS}")


if __name__ == "__main__":
    main()
