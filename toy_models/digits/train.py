"""Train a class-conditional digits model on one CPU core; a run that was stopped goes on where it was.

python toy_models/digits/train.py --out toy_models/digits
python toy_models/digits/train.py --process flow --out toy_models/digits-flow
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import time
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from diffnum.forms import conversion
from diffnum.models.loading.toy import ConditionalMLP, ConditionalMLPConfig
from diffnum.schedules import FlowMatching, VPLinear
from diffnum.types import Prediction, Schedule

HELD_OUT = 197
LABEL_DROPOUT = 0.15


@dataclass(frozen=True)
class Process:
    """What is learned: a noising process, the times between which it is sampled, and the prediction."""

    id: str
    schedule: Schedule
    prediction: Prediction
    t_start: float
    t_end: float

    @property
    def levels(self) -> tuple[float, float]:
        """Half-log-SNRs of the noisy and the clean end."""
        return float(self.schedule.half_log_snr(self.t_start)), float(self.schedule.half_log_snr(self.t_end))

    def at(self, level: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Alpha and sigma at half-log-SNRs."""
        t = self.schedule.time(level)
        return self.schedule.alpha(t), self.schedule.sigma(t)


PROCESSES = {
    "vp": Process("toy/digits", VPLinear(beta_min=0.1, beta_max=20.0), "v", 1.0, 1e-3),
    "flow": Process("toy/digits-flow", FlowMatching(), "velocity", FlowMatching.default_t_start, 1e-3),
}


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Images scaled to [-1, 1], shape (1797, 1, 8, 8), and labels, in one fixed shuffled order."""
    data = load_digits()
    images = torch.from_numpy(data.images).float()[:, None] / 8.0 - 1.0
    labels = torch.from_numpy(data.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(2024))
    return images[order], labels[order]


def noise_level(process: Process, size: int, generator: torch.Generator) -> torch.Tensor:
    """Stratified half-log-SNRs, uniform over the range that samplers visit."""
    low, high = process.levels
    unit = (torch.arange(size) + torch.rand(size, generator=generator)) / size
    return low - 0.1 + (high - low + 0.2) * unit


def loss_of(
    model: torch.nn.Module, process: Process, x: torch.Tensor, label: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Mean square error of the prediction on freshly noised images."""
    level = noise_level(process, len(x), generator)
    alpha, sigma = (part[:, None, None, None] for part in process.at(level))
    noise = torch.randn(x.shape, generator=generator)
    target = alpha * noise - sigma * x if process.prediction == "v" else noise - x
    error: torch.Tensor = model(alpha * x + sigma * noise, level, label) - target
    return error.square().mean()


@torch.no_grad()
def sample(model: torch.nn.Module, process: Process, label: torch.Tensor, seed: int, steps: int = 25) -> torch.Tensor:
    """Heun's method on x/alpha in the clock sigma/alpha, nodes uniform in half-log-SNR."""
    low, high = process.levels
    level = torch.linspace(low, high, steps + 1)
    rho, (alpha, sigma) = (-level).exp(), process.at(level)

    def noise(scaled: torch.Tensor, i: int) -> torch.Tensor:
        x = alpha[i] * scaled
        p, q = conversion(process.prediction, "noise", float(alpha[i]), float(sigma[i]))
        predicted: torch.Tensor = model(x, level[i].expand(len(x)), label)
        return p * x + q * predicted

    shape = (len(label), 1, 8, 8)
    z = rho[0] * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    for i in range(steps):
        first = noise(z, i)
        second = noise(z + (rho[i + 1] - rho[i]) * first, i + 1)
        z = z + (rho[i + 1] - rho[i]) * (first + second) / 2.0
    return alpha[-1] * z


@torch.no_grad()
def smoothness(
    model: torch.nn.Module, process: Process, steps: tuple[int, ...] = (20, 40, 80, 160, 320)
) -> dict[str, object]:
    """Convergence of the classical Runge-Kutta method in float64: order 4 where the network is smooth.

    With y = x / sqrt(alpha^2 + sigma^2) and s = sigma / sqrt(alpha^2 + sigma^2) the probability-flow equation in
    half-log-SNR is dy/dlam = s^2 y - s eps. Errors are relative root mean squares against four times the finest grid.
    """
    model = deepcopy(model).double()
    label = torch.arange(11)
    low, high = process.levels
    start = torch.randn(11, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def slope(y: torch.Tensor, level: float) -> torch.Tensor:
        at = torch.full((len(y),), level, dtype=torch.float64)
        alpha, sigma = (float(part[0]) for part in process.at(at))
        p, q = conversion(process.prediction, "noise", alpha, sigma)
        x = math.hypot(alpha, sigma) * y
        s = sigma / math.hypot(alpha, sigma)
        predicted: torch.Tensor = model(x, at, label)
        return s * s * y - s * (p * x + q * predicted)

    def solve(n: int) -> torch.Tensor:
        y, h = start, (high - low) / n
        for i in range(n):
            level = low + i * h
            a = slope(y, level)
            b = slope(y + 0.5 * h * a, level + 0.5 * h)
            c = slope(y + 0.5 * h * b, level + 0.5 * h)
            y = y + h / 6.0 * (a + 2.0 * b + 2.0 * c + slope(y + h * c, level + h))
        return y

    exact = solve(4 * steps[-1])
    errors = [float((solve(n) - exact).norm() / exact.norm()) for n in steps]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    return {"method": "classical Runge-Kutta", "steps": list(steps), "errors": errors, "orders": orders}


def draw(out: Path, model: torch.nn.Module, process: Process, history: list[tuple[int, float, float]]) -> None:
    """Write the loss curve and a grid of samples, one column a digit and last the unconditional ones."""
    with (out / "loss_curve.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["step", "train", "held_out"])
        rows.writerows([s, f"{a:.6f}", f"{b:.6f}"] for s, a, b in history)
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    step, train, held = zip(*history, strict=True)
    axes.plot(step, train, label="train (with dropout)")
    axes.plot(step, held, label="held out (EMA)")
    axes.set(xlabel="step", ylabel=f"{process.prediction} loss", yscale="log")
    axes.legend()
    figure.savefig(out / "loss_curve.png", dpi=100)
    plt.close(figure)

    images = sample(model, process, torch.arange(11).repeat(8), seed=0)
    grid = images.reshape(8, 11, 8, 8)
    grid = torch.nn.functional.pad(grid, (1, 1, 1, 1), value=0.0).permute(0, 2, 1, 3).reshape(80, 110)
    figure = plt.figure(figsize=(7.7, 5.6), frameon=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(grid, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    figure.savefig(out / "samples.png", dpi=100)
    plt.close(figure)


def finish(
    out: Path,
    model: ConditionalMLP,
    process: Process,
    history: list[tuple[int, float, float]],
    training: dict[str, object],
) -> None:
    """Write figures, weights, configuration and card."""
    draw(out, model, process, history)
    name = process.id.removeprefix("toy/")
    weights = out / f"{name}.safetensors"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
    weights.chmod(0o644)
    config: dict[str, Any] = {
        "id": process.id,
        "architecture": "conditional-mlp",
        "network": asdict(model.config),
        "prediction": process.prediction,
        "schedule": process.schedule.to_dict(),
        "default_t_end": process.t_end,
        "value_range": [-1.0, 1.0],
        "weights": weights.name,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "smoothness": smoothness(model, process),
        "agreement": agreement(model, process),
        "training": training,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    rows = zip(config["smoothness"]["steps"], config["smoothness"]["errors"], strict=True)
    orders = ["", *(f"{p:.2f}" for p in config["smoothness"]["orders"])]
    table = "\n".join(f"| {n} | {e:.2e} | {p} |" for (n, e), p in zip(rows, orders, strict=True))
    template = (Path(__file__).parent.parent / name / "card.md.in").read_text()
    values = {**training, **config["network"], **config["agreement"], "parameters": config["parameters"]}
    (out / "README.md").write_text(
        template.format(**values, bytes=weights.stat().st_size, smoothness=table, t_end=process.t_end)
    )


@torch.no_grad()
def agreement(model: torch.nn.Module, process: Process, per_class: int = 100) -> dict[str, float]:
    """How often a classifier trained on the training images reads samples, and real digits, right."""
    images, labels = digits()
    classifier = SVC(gamma=0.02, C=10.0).fit(images[HELD_OUT:].flatten(1), labels[HELD_OUT:])
    asked = torch.arange(10).repeat(per_class)
    return {
        "samples_read_right": float(classifier.score(sample(model, process, asked, seed=5).flatten(1), asked)),
        "held_out_read_right": float(classifier.score(images[:HELD_OUT].flatten(1), labels[:HELD_OUT])),
    }


def train(out: Path, process: Process, steps: int, batch: int, seed: int, rate: float) -> None:
    """Train, resuming from ``checkpoint.pt`` when it is there, and write every artefact of the card."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    images, labels = digits()
    held, held_labels = images[:HELD_OUT], labels[:HELD_OUT]
    images, labels = images[HELD_OUT:], labels[HELD_OUT:]

    config = ConditionalMLPConfig(sample_shape=(1, 8, 8), num_classes=10)
    model = ConditionalMLP(config)
    average = deepcopy(model).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min(1.0, (i + 1) / 300) * max(0.02, 1.0 - i / steps)
    )
    generator = torch.Generator().manual_seed(seed)
    history: list[tuple[int, float, float]] = []
    start, seconds = 0, 0.0
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        history, start, seconds = [tuple(r) for r in state["history"]], state["step"], state["seconds"]
        print(f"resuming at step {start}")

    running, count, began = 0.0, 0, time.monotonic()
    for step in range(start, steps):
        chosen = torch.randint(len(images), (batch,), generator=generator)
        dropped = torch.rand(batch, generator=generator) < LABEL_DROPOUT
        loss = loss_of(model, process, images[chosen], torch.where(dropped, 10, labels[chosen]), generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        decay = min(0.9995, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1.0 - decay)
        running, count = running + float(loss.detach()), count + 1
        if (step + 1) % 500 == 0 or step + 1 == steps:
            with torch.no_grad():
                fixed = torch.Generator().manual_seed(7)
                value = float(loss_of(average, process, held.repeat(8, 1, 1, 1), held_labels.repeat(8), fixed))
            history.append((step + 1, running / count, value))
            print(f"step {step + 1:6d}  train {running / count:.4f}  held out {value:.4f}", flush=True)
            running, count = 0.0, 0
        if (step + 1) % 2000 == 0 or step + 1 == steps:
            partial = checkpoint.with_suffix(".part")
            torch.save(
                {
                    "model": model.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "generator": generator.get_state(),
                    "torch": torch.get_rng_state(),
                    "history": history,
                    "step": step + 1,
                    "seconds": seconds + time.monotonic() - began,
                },
                partial,
            )
            partial.replace(checkpoint)
    seconds += time.monotonic() - began

    record: dict[str, object] = {
        "data": "sklearn.datasets.load_digits",
        "licence": "CC BY 4.0",
        "images": len(images),
        "held_out": len(held),
        "steps": steps,
        "batch": batch,
        "seed": seed,
        "learning_rate": rate,
        "label_dropout": LABEL_DROPOUT,
        "seconds": round(seconds),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "loss_train": history[-1][1],
        "loss_held_out": history[-1][2],
    }
    finish(out, average, process, history, record)
    checkpoint.unlink(missing_ok=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--process", choices=tuple(PROCESSES), default="vp", help="noising process and prediction")
    parser.add_argument("--out", type=Path, help="folder for all artefacts; that of the model by default")
    parser.add_argument("--steps", type=int, default=14000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    arguments = parser.parse_args()
    process = PROCESSES[arguments.process]
    out = arguments.out or Path(__file__).parent.parent / process.id.removeprefix("toy/")
    out.mkdir(parents=True, exist_ok=True)
    train(out, process, arguments.steps, arguments.batch, arguments.seed, arguments.rate)


if __name__ == "__main__":
    main()
