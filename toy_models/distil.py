"""Distil toy/digits to 8, 4, 2 and 1 steps and to a consistency function; minutes on one core.

    python -m toy_models.distil --out book/results/distilled-digits.json

Progressive distillation (Salimans and Ho 2022, algorithm 2) halves the steps, each student starting from its teacher;
consistency distillation (Song et al. 2023, algorithm 2) takes DDIM steps of the network on 32 levels. Students have the
network's own shape and no label. What is written: the error of their endpoints against a converged run of the teacher,
and the Frechet distance to it, beside the best of the catalogue and the found plans at the same evaluations.
"""

from __future__ import annotations

import argparse
import json
import math
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import diffnum as dn
from diffnum.calibration.fitting import converged_samples
from diffnum.calibration.hosts import host_of
from diffnum.calibration.rivals import catalogue_plans, ranked
from diffnum.models.quality.features import features_for
from diffnum.models.quality.metrics import frechet_distance
from toy_models.features import script

PLANS = Path(__file__).parent / "plans"
LEVELS = 32


class Network:
    """The module of a model as a data prediction, on half-log-SNRs of shape (n,)."""

    def __init__(self, model: Any, module: torch.nn.Module) -> None:
        self.schedule, self.module, self.null = model.schedule, module, model.num_classes

    def coefficients(self, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Alpha and sigma, shape (n, 1, 1, 1)."""
        t = self.schedule.time(level.double())
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        return alpha.float()[:, None, None, None], sigma.float()[:, None, None, None]

    def data(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Prediction of the data."""
        alpha, sigma = self.coefficients(level)
        label = torch.full((len(x),), self.null, dtype=torch.long)
        prediction: torch.Tensor = alpha * x - sigma * self.module(x, level, label)
        return prediction

    def step(self, x: torch.Tensor, data: torch.Tensor, here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """DDIM step with a data prediction."""
        (alpha, sigma), (new_alpha, new_sigma) = self.coefficients(here), self.coefficients(there)
        return new_sigma / sigma * x + (new_alpha - new_sigma / sigma * alpha) * data

    def run(self, x: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """DDIM over levels."""
        with torch.no_grad():
            for here, there in pairwise(levels):
                now, then = here.expand(len(x)), there.expand(len(x))
                x = self.step(x, self.data(x, now), now, then)
        return x


def trained(student: Network, loss_of: Any, steps: int, rate: float) -> float:
    """Adam with a rate that falls to zero; returns the mean loss of the last tenth."""
    optimiser = torch.optim.Adam(student.module.parameters(), lr=rate, betas=(0.9, 0.99))
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    values = []
    for n in range(steps):
        loss = loss_of()
        if not math.isfinite(loss.item()):
            msg = f"the training diverged at step {n} of {steps}: use a rate below {rate}"
            raise FloatingPointError(msg)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
        values.append(loss.item())
    last = values[-max(1, steps // 10) :]
    return sum(last) / len(last)


def halve(teacher: Network, student: Network, levels: torch.Tensor, draw: Any, steps: int, rate: float) -> float:
    """Train one step of the student for two of the teacher."""

    def loss_of() -> torch.Tensor:
        x0, eps, unit = draw()
        at = (unit * (len(levels) - 1)).long()
        here, there = levels[at], levels[at + 1]
        middle = 0.5 * (here + there)
        alpha, sigma = student.coefficients(here)
        x = alpha * x0 + sigma * eps
        with torch.no_grad():
            half = teacher.step(x, teacher.data(x, here), here, middle)
            end = teacher.step(half, teacher.data(half, middle), middle, there)
            (new_alpha, new_sigma) = student.coefficients(there)
            goal = (end - new_sigma / sigma * x) / (new_alpha - new_sigma / sigma * alpha)
        weight = torch.clamp((alpha / sigma) ** 2, min=1.0, max=100.0)
        return (weight * (student.data(x, here) - goal) ** 2).mean()

    return trained(student, loss_of, steps, rate)


def consistent(teacher: Network, student: Network, levels: torch.Tensor, draw: Any, steps: int, rate: float) -> float:
    """Train the student's prediction to be the same along steps of the teacher."""

    def loss_of() -> torch.Tensor:
        x0, eps, unit = draw()
        at = (unit * (len(levels) - 1)).long()
        here, there = levels[at], levels[at + 1]
        alpha, sigma = student.coefficients(here)
        x = alpha * x0 + sigma * eps
        with torch.no_grad():
            near = teacher.step(x, teacher.data(x, here), here, there)
            last = (at == len(levels) - 2)[:, None, None, None]
            goal = torch.where(last, near, student.data(near, there))
        return ((student.data(x, here) - goal) ** 2).mean()

    return trained(student, loss_of, steps, rate)


def main() -> None:
    """Train, evaluate, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500, help="of Adam, for each student")
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--n", type=int, default=512, help="noises for the evaluation")
    words = parser.parse_args()
    torch.manual_seed(0)
    model = dn.load("toy/digits")
    images = script("digits").digits()[0][script("digits").HELD_OUT :]
    generator = torch.Generator().manual_seed(0)

    def draw() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rows = torch.randint(len(images), (words.batch,), generator=generator)
        x0 = images[rows]
        return x0, torch.randn(x0.shape, generator=generator), torch.rand(words.batch, generator=generator)

    ends = (1.0, 1e-3)
    low, high = (float(model.schedule.half_log_snr(t)) for t in ends)
    samples = converged_samples(host_of(model), ends, words.n, 7)
    noise, target = torch.cat(list(samples.x)), torch.cat(list(samples.target))
    seen = features_for(model)
    reference = seen(model, target)

    def row(name: str, nfe: int, made: torch.Tensor, **more: Any) -> dict[str, Any]:
        gap = float((made.double() - target.double()).norm() / target.double().norm())
        found = {"sampler": name, "nfe": nfe, "error": gap, "frechet": frechet_distance(seen(model, made), reference)}
        print(found | more, flush=True)
        return found | more

    rows = []
    for nfe in (1, 2, 4):
        rivals = catalogue_plans(model.schedule, ends, nfe)
        best = ranked(ranked(rivals, samples.head(64))[:8], samples)[0]
        parts = zip(samples.parts, samples.x, strict=True)
        made = torch.cat([dn.solve(best.plan, part, x) for part, x in parts])
        rows.append(row("best of the catalogue", nfe, made, method=best.name))
        file = PLANS / f"toy-digits-{nfe}.json"
        if file.exists():
            plan, parts = dn.Plan.from_json(file), zip(samples.parts, samples.x, strict=True)
            rows.append(row("found plan", nfe, torch.cat([dn.solve(plan, part, x) for part, x in parts])))
    module = model.module.float().train(mode=False)
    first = Network(model, module)
    teacher = first
    for nfe in (8, 4, 2, 1):
        student = Network(model, deepcopy(teacher.module).requires_grad_(True))
        levels = torch.linspace(low, high, nfe + 1)
        loss = halve(teacher, student, levels, draw, words.steps, words.rate)
        rows.append(row("progressive distillation", nfe, student.run(noise.float(), levels), loss=loss))
        teacher = student
    student = Network(model, deepcopy(module).requires_grad_(True))
    levels = torch.linspace(low, high, LEVELS + 1)
    loss = consistent(first, student, levels, draw, 2 * words.steps, words.rate)
    with torch.no_grad():
        made = student.data(noise.float(), levels[:1].expand(len(noise)))
    rows.append(row("consistency distillation", 1, made, loss=loss))
    options = f"--steps {words.steps} --batch {words.batch} --rate {words.rate} --n {words.n}"
    command = f"python -m toy_models.distil {options} --out book/results/distilled-digits.json"
    record = {"command": command, "model": "toy/digits", "seed": 0, "features": seen.about, "rows": rows}
    words.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
