"""Distil toy/digits: progressively to 4, 2 and 1 steps, to a consistency function, and to a MeanFlow; on one core.

    python -m toy_models.distil                       # all five, about two minutes each on an idle core
    python -m toy_models.distil digits-meanflow       # one of them
    python -m toy_models.weigh_students --out book/results/distilled-digits.json    # measures, and writes their cards

Every student has its teacher's shape and starts from its teacher's weights, or those of a student before it. It
predicts v, such that one DDIM step from its noise level to the level of its goal lands where it should: on a process
with ``alpha^2 + sigma^2 = 1`` that step turns by the angle between the two, ``x_s = cos(gap) x - sin(gap) v``, where
the angle is ``atan(sigma/alpha)``. No digit is used: the data are samples of the teacher, half without a label.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import diffnum as dn
from diffnum.models.loading.toy import ConditionalMLP

HERE = Path(__file__).parent
TEACHER = "toy/digits"
ENDS = (1.0, 1e-3)
POOL, PAIRS, BATCH = 16_384, 65_536, 256
SHORT = 0.1  # least jump of MeanFlow, in half-log-SNR
FINE = 24  # exponential midpoint steps of the teacher in a whole run: within 0.4 % of its flow

Batch = tuple[torch.Tensor, ...]
Loss = Callable[[torch.nn.Module, torch.Generator], torch.Tensor]


def parts(level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Alpha and sigma at half-log-SNRs of shape (n,), each of shape (n, 1, 1, 1)."""
    wide = 2.0 * level.double()
    alpha, sigma = torch.sigmoid(wide).sqrt(), torch.sigmoid(-wide).sqrt()
    return alpha.float()[:, None, None, None], sigma.float()[:, None, None, None]


def turn(x: torch.Tensor, v: torch.Tensor, here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """DDIM step with a v prediction."""
    (alpha, sigma), (new_alpha, new_sigma) = parts(here), parts(there)
    return (new_alpha * alpha + new_sigma * sigma) * x - (new_alpha * sigma - new_sigma * alpha) * v


def midpoint(net: Any, x: torch.Tensor, here: torch.Tensor, there: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Exponential midpoint step: DDIM to the middle, then the whole step with the data predicted there."""
    middle = 0.5 * (here + there)
    half = turn(x, net(x, here, label), here, middle)
    (alpha, sigma), (new_alpha, new_sigma), (at, less) = parts(here), parts(there), parts(middle)
    data = at * half - less * net(half, middle, label)
    decay = new_sigma / sigma
    return decay * x + (new_alpha - decay * alpha) * data


def carried(net: Any, x: torch.Tensor, here: torch.Tensor, there: torch.Tensor, label: torch.Tensor, n: int) -> Any:
    """Run of n midpoint steps: the teacher's flow."""
    for k in range(n):
        x = midpoint(net, x, here + (there - here) * k / n, here + (there - here) * (k + 1) / n, label)
    return x


@dataclass(frozen=True)
class Setting:
    """What every training shares: the teacher, its ends in half-log-SNR, its samples with their labels."""

    teacher: torch.nn.Module
    low: float
    high: float
    data: torch.Tensor
    labels: torch.Tensor

    def draw(self, level: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Noisy samples at levels of shape (n,), and their labels."""
        rows = torch.randint(len(self.data), level.shape, generator=generator)
        alpha, sigma = parts(level)
        x0 = self.data[rows]
        return alpha * x0 + sigma * torch.randn(x0.shape, generator=generator), self.labels[rows]

    def levels(self, steps: int) -> torch.Tensor:
        """Half-log-SNRs of so many steps, uniform."""
        return torch.linspace(self.low, self.high, steps + 1)

    def pairs(self, levels: torch.Tensor, step: Any, generator: torch.Generator, *, far: bool = False) -> Batch:
        """Noisy states at all but the last level, where ``step`` takes them: to the next level, or any (``far``)."""
        found, last = [], len(levels) - 1
        for _ in range(0, PAIRS, 2048):
            at = torch.randint(last, (2048,), generator=generator)
            ahead = (torch.rand(2048, generator=generator) * (last - at)).long() if far else torch.zeros_like(at)
            here, there = levels[at], levels[at + 1 + ahead]
            x, label = self.draw(here, generator)
            with torch.no_grad():
                found.append((x, here, there, label, step(x, here, there, label)))
        return tuple(torch.cat(column) for column in zip(*found, strict=True))


def setting(seed: int) -> Setting:
    """Draw the teacher's samples."""
    model = dn.load(TEACHER)
    low, high = (float(model.schedule.half_log_snr(t)) for t in ENDS)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (POOL,), generator=generator)
    labels = torch.where(torch.rand(POOL, generator=generator) < 0.5, 10, labels)
    rows, clean = 512, []
    here, there = torch.full((rows,), low), torch.full((rows,), high)
    with torch.no_grad():
        for label in labels.split(rows):
            clean.append(carried(model.module, torch.randn(rows, 1, 8, 8, generator=generator), here, there, label, 16))
    return Setting(model.module, low, high, torch.cat(clean), labels)


def chosen(pairs: Batch, generator: torch.Generator) -> Batch:
    """Random rows of a table of pairs."""
    rows = torch.randint(len(pairs[0]), (BATCH,), generator=generator)
    return tuple(column[rows] for column in pairs)


def progressive(shared: Setting, generator: torch.Generator, steps: int, before: torch.nn.Module | None) -> Loss:
    """One step for two of the student before; the first for a fine run of the teacher (Salimans and Ho 2022)."""

    def by_teacher(x: torch.Tensor, here: torch.Tensor, there: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return carried(shared.teacher, x, here, there, label, FINE // steps)

    def by_student(x: torch.Tensor, here: torch.Tensor, there: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        middle = 0.5 * (here + there)
        half = turn(x, before(x, here, label), here, middle)  # type: ignore[misc]
        return turn(half, before(half, middle, label), middle, there)  # type: ignore[misc]

    pairs = shared.pairs(shared.levels(steps), by_teacher if before is None else by_student, generator)

    def loss(student: torch.nn.Module, generator: torch.Generator) -> torch.Tensor:
        x, here, there, label, goal = chosen(pairs, generator)
        return (turn(x, student(x, here, label), here, there) - goal).square().mean()

    return loss


def consistency(shared: Setting, generator: torch.Generator, levels: int) -> Loss:
    """Same image from two states of a fine run of the teacher.

    Song et al. 2023, algorithm 2, where they are neighbours; here they are any two of the levels, the last included,
    so that what is known at the end need not travel through every level in turn.
    """
    pairs = shared.pairs(shared.levels(levels), lambda *a: carried(shared.teacher, *a, FINE // 2), generator, far=True)
    end = torch.full((BATCH,), shared.high)

    def loss(student: torch.nn.Module, generator: torch.Generator) -> torch.Tensor:
        x, here, there, label, near = chosen(pairs, generator)
        with torch.no_grad():
            goal = turn(near, student(near, there, label), there, end)  # the identity at the end
        return (turn(x, student(x, here, label), here, end) - goal).square().mean()

    return loss


def mean_flow(shared: Setting) -> Loss:
    """Average velocity over half-log-SNR, by its identity (Geng et al. 2025), with the teacher's velocity.

    With ``lam`` as time ``dx/dlam = -v / (2 cosh lam)``, v being the teacher's prediction, and the student's average
    velocity to a goal is ``(turn(x) - x) / (goal - lam)``. The target holds a derivative of the student, times the
    length of the jump, so that its own errors come back enlarged: from the teacher's weights, with equal weights of the
    samples and a rate of 5e-4, the training runs away. What keeps it is what the paper has too: half of the jumps are
    short, and each sample is weighed by the inverse of its own loss. It starts from the consistency student, which
    knows the jumps to the end.
    """

    def loss(student: torch.nn.Module, generator: torch.Generator) -> torch.Tensor:
        here, ahead, first, last = torch.rand(4, BATCH, generator=generator)
        level = torch.where(first < 1.0 / 6.0, shared.low, shared.low + (shared.high - SHORT - shared.low) * here)
        far = torch.where(last < 0.25, 1.0, torch.where(last < 0.5, ahead, 0.0))
        goal = level + SHORT + (shared.high - SHORT - level) * far
        x, label = shared.draw(level, generator)

        def average(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return (turn(x, student(x, level, label, goal), level, goal) - x) / (goal - level)[:, None, None, None]

        with torch.no_grad():
            v = shared.teacher(x, level, label)
            velocity = -v / (2.0 * torch.cosh(level))[:, None, None, None]
            _, slope = torch.func.jvp(average, (x, level), (velocity, torch.ones_like(level)))
            target = velocity + (goal - level)[:, None, None, None] * slope
        each = (average(x, level) - target).square().flatten(1).mean(1)
        return (each / (each.detach() + 1e-3)).mean()

    return loss


@dataclass(frozen=True)
class Recipe:
    """A student: its name, the steps of Adam, and from what it is made."""

    name: str
    what: str
    trained_steps: tuple[int, ...]
    make: Callable[[Setting, torch.Generator], Loss]
    before: str = ""
    steps: int = 2500
    rate: float = 5e-4
    jumps: bool = False


def halving(steps: int, before: str = "") -> Recipe:
    """Recipe of a stage of progressive distillation."""
    said = (
        "two steps of `toy/" + before + "`" if before else f"{FINE // steps} steps of the midpoint rule of the teacher"
    )

    def make(shared: Setting, generator: torch.Generator) -> Loss:
        return progressive(shared, generator, steps, read(before) if before else None)

    return Recipe(
        f"digits-progressive-{steps}", f"progressive distillation: one step for {said}", (steps,), make, before, 1500
    )


RECIPES = {
    recipe.name: recipe
    for recipe in (
        halving(4),
        halving(2, "digits-progressive-4"),
        halving(1, "digits-progressive-2"),
        Recipe(
            "digits-consistency",
            "consistency distillation: the same image from any two of 12 levels on a fine run of the teacher",
            (1,),
            lambda shared, generator: consistency(shared, generator, 12),
        ),
        Recipe(
            "digits-meanflow",
            "MeanFlow in half-log-SNR, with the teacher's velocity: jumps between any two levels",
            (1, 2, 4),
            lambda shared, generator: mean_flow(shared),  # noqa: ARG005
            before="digits-consistency",
            steps=1500,
            rate=1e-4,
            jumps=True,
        ),
    )
}


def read(name: str) -> torch.nn.Module:
    """Module of a student that was trained before, with its weights as they were shipped."""
    module: torch.nn.Module = dn.load(f"toy/{name}").module
    return module


def trained(student: torch.nn.Module, loss_of: Loss, recipe: Recipe, generator: torch.Generator) -> list[float]:
    """Adam with a rate that falls to zero; returns the losses of all steps."""
    optimiser = torch.optim.Adam(student.parameters(), lr=recipe.rate, betas=(0.9, 0.99))
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps)
    values = []
    for n in range(recipe.steps):
        loss = loss_of(student, generator)
        values.append(float(loss.detach()))
        if not math.isfinite(values[-1]):
            msg = f"the training diverged at step {n} of {recipe.steps}: use a rate below {recipe.rate}"
            raise FloatingPointError(msg)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.jumps:
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        plan.step()
        if (n + 1) % 250 == 0:
            print(f"{recipe.name} {n + 1} of {recipe.steps}: {sum(values[-250:]) / 250:.3e}", flush=True)
    return values


def distil(recipe: Recipe, shared: Setting, out: Path, seed: int) -> None:
    """Train a student and write its weights, its curve and its configuration."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    start = read(recipe.before) if recipe.before else shared.teacher
    config = replace(start.config, jump_end=shared.high if recipe.jumps else None)
    student = ConditionalMLP(config).eval()
    student.load_state_dict(start.state_dict(), strict=not recipe.jumps)
    began = time.monotonic()
    values = trained(student, recipe.make(shared, generator), recipe, generator)
    seconds = time.monotonic() - began
    out.mkdir(parents=True, exist_ok=True)
    weights = out / f"{recipe.name}.safetensors"
    save_file({k: v.half().contiguous() for k, v in student.state_dict().items()}, weights)
    weights.chmod(0o644)
    with (out / "loss_curve.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["step", "loss"])
        rows.writerows([n + 50, f"{sum(values[n : n + 50]) / 50:.6e}"] for n in range(0, recipe.steps, 50))
    teacher = json.loads((HERE / TEACHER.removeprefix("toy/") / "config.json").read_text())
    kept = ("architecture", "prediction", "schedule", "default_t_end", "value_range")
    record = {
        "id": f"toy/{recipe.name}",
        **{key: teacher[key] for key in kept},
        "network": asdict(config),
        "trained_steps": recipe.trained_steps,
        "weights": weights.name,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in student.parameters()),
        "training": {
            "teacher": TEACHER,
            "started_from": f"toy/{recipe.before}" if recipe.before else TEACHER,
            "what": recipe.what,
            "samples": POOL,
            "steps": recipe.steps,
            "batch": BATCH,
            "seed": seed,
            "rate": recipe.rate,
            "seconds": round(seconds),
            "loss_first": sum(values[:50]) / 50,
            "loss_last": sum(values[-50:]) / 50,
            "torch": torch.__version__,
            "date": datetime.now(UTC).date().isoformat(),
        },
    }
    (out / "config.json").write_text(json.dumps(record, indent=2) + "\n")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*RECIPES, []], help="students; all by default, in this order")
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    torch.set_num_threads(1)
    shared = setting(words.seed)
    for name in words.names or RECIPES:
        distil(RECIPES[name], shared, HERE / name, words.seed)


if __name__ == "__main__":
    main()
