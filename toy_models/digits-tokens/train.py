"""Train a masked-diffusion transformer on digits of four grey levels; a run that was stopped goes on where it was.

python toy_models/digits-tokens/train.py --out toy_models/digits-tokens
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import time
from copy import deepcopy
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from diffnum.discrete import Masked, sample
from diffnum.models.loading.tokens import CARD, NetworkTokens, TokenTransformer, TokenTransformerConfig
from diffnum.models.quality.metrics import frechet_distance

HELD_OUT = 197
LABEL_DROPOUT = 0.15
LEVELS = 4
FALLS = ((0, 2000), (2000, 5200), (3000, 3400))
"""Learning rate: from the first step of each pair on it is the peak rate times 1 - step/second."""

SAMPLERS = ("ancestral", "theta_trapezoidal_clock", "random_parallel", "confidence", "first_hitting")
STEPS = (4, 8, 16, 32, 64)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Images as tokens 0 ... 3, shape (1797, 64), and labels, in one fixed shuffled order."""
    data = load_digits()
    tokens = torch.from_numpy(np.rint(data.images / 16.0 * (LEVELS - 1))).long().flatten(1)
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(2024))
    return tokens[order], torch.from_numpy(data.target).long()[order]


def loss_of(model: torch.nn.Module, x: torch.Tensor, label: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Bound on the negative log-likelihood in nats a token: cross entropy of masked tokens over the share masked."""
    n = len(x)
    share = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    share = (1e-3 + (1 - 1e-3) * share)[:, None]
    masked = torch.rand(x.shape, generator=generator) < share
    logits = model(torch.where(masked, LEVELS, x), label)
    cost = torch.nn.functional.cross_entropy(logits.transpose(1, 2), x, reduction="none")
    return (cost * masked / share).mean()


def decay_of(step: int) -> float:
    """Factor of the peak learning rate, at least a fiftieth."""
    end = next(end for first, end in reversed(FALLS) if step >= first)
    return max(0.02, 1.0 - step / end)


def draw(out: Path, model: NetworkTokens, history: list[tuple[int, float, float]]) -> None:
    """Write the loss curve and a grid of samples, one column a digit and last the unconditional ones."""
    with (out / "loss_curve.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["step", "train", "held_out"])
        rows.writerows([s, f"{a:.6f}", f"{b:.6f}"] for s, a, b in history)
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    step, train, held = zip(*history, strict=True)
    axes.plot(step, train, label="train (with dropout)")
    axes.plot(step, held, label="held out (EMA)")
    axes.set(xlabel="step", ylabel="bound, nats a pixel", yscale="log")
    axes.legend()
    figure.savefig(out / "loss_curve.png", dpi=100)
    plt.close(figure)
    asked = [*range(10), None]
    columns = [sample(model.conditioned(k), Masked(), "first_hitting", 8, seed=i) for i, k in enumerate(asked)]
    grid = np.stack([column.reshape(8, 8, 8) for column in columns], axis=1)
    grid = np.pad(grid, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1).transpose(0, 2, 1, 3).reshape(80, 110)
    figure = plt.figure(figsize=(7.7, 5.6), frameon=False)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(grid, cmap="gray", vmin=0, vmax=LEVELS - 1, interpolation="nearest")
    axes.set_axis_off()
    figure.savefig(out / "samples.png", dpi=100)
    plt.close(figure)


def projection(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and the eight principal directions of the training images: features for the Frechet distance."""
    centre = images.mean(axis=0)
    return centre, np.linalg.svd(images - centre, full_matrices=False)[2][:8]


def quality(model: NetworkTokens, per_class: int) -> dict[str, Any]:
    """Frechet distance to the training images, and how often a classifier reads the label, by sampler and steps."""
    images, labels = (part.numpy() for part in digits())
    real, real_labels = images[HELD_OUT:].astype(float), labels[HELD_OUT:]
    centre, directions = projection(real)
    classifier = SVC(gamma=0.02 * (8 / 1.5) ** 2 / 4, C=10.0).fit(real, real_labels)
    asked = np.repeat(np.arange(10), per_class)
    features = (real - centre) @ directions.T
    rows = []
    for name in SAMPLERS:
        for steps in STEPS if name != "first_hitting" else (64,):
            x = sample(model.conditioned(asked), Masked(), name, len(asked), steps, seed=5).astype(float)
            rows.append(
                {
                    "sampler": name,
                    "steps": steps,
                    "frechet": float(frechet_distance((x - centre) @ directions.T, features)),
                    "read_right": float(classifier.score(x, asked)),
                }
            )
            print(rows[-1], flush=True)
    held = (images[:HELD_OUT] - centre) @ directions.T
    return {
        "rows": rows,
        "per_class": per_class,
        "frechet_held_out": float(frechet_distance(held, features)),
        "held_out_read_right": float(classifier.score(images[:HELD_OUT], labels[:HELD_OUT])),
    }


def overhead(model: NetworkTokens, n: int = 64, steps: int = 32) -> float:
    """Time of a run of ancestral sampling over that of its network evaluations alone."""
    state = np.full((n, model.length), model.tokens)
    model(state, 0.5)
    best = [float("inf"), float("inf")]
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(steps):
            model(state, 0.5)
        middle = time.perf_counter()
        sample(model, Masked(), "ancestral", n, steps)
        ended = time.perf_counter()
        best = [min(best[0], middle - began), min(best[1], ended - middle)]
    return best[1] / best[0]


def finish(
    out: Path,
    network: TokenTransformer,
    history: list[tuple[int, float, float]],
    training: dict[str, Any],
    per_class: int,
) -> None:
    """Write figures, weights, configuration and card."""
    config = network.config
    model = NetworkTokens(network, config.length, config.tokens, config.num_classes, "toy/digits-tokens", (8, 8))
    draw(out, model, history)
    weights = out / "digits-tokens.safetensors"
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, weights)
    weights.chmod(0o644)
    card: dict[str, Any] = {
        "id": "toy/digits-tokens",
        "architecture": "token-transformer",
        "network": asdict(config),
        "shape": [8, 8],
        "process": "masked",
        "survival": "linear",
        "weights": weights.name,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "parameters": sum(p.numel() for p in network.parameters()),
        "overhead": overhead(model),
        "quality": quality(model, per_class),
        "training": training,
    }
    (out / CARD).write_text(json.dumps(card, indent=2) + "\n")
    table = "\n".join(
        f"| {r['sampler']} | {r['steps']} | {r['frechet']:.2f} | {r['read_right']:.1%} |"
        for r in card["quality"]["rows"]
    )
    values = {
        **training,
        **card["network"],
        **card["quality"],
        "parameters": card["parameters"],
        "overhead": card["overhead"],
    }
    template = (Path(__file__).parent / "card.md.in").read_text()
    (out / "README.md").write_text(template.format(**values, bytes=weights.stat().st_size, table=table, levels=LEVELS))


def train(out: Path, steps: int, batch: int, seed: int, rate: float, minutes: float, per_class: int) -> None:
    """Train, resuming from ``checkpoint.pt`` when it is there, and write every artefact of the card."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    tokens, labels = digits()
    held, held_labels = tokens[:HELD_OUT], labels[:HELD_OUT]
    tokens, labels = tokens[HELD_OUT:], labels[HELD_OUT:]
    config = TokenTransformerConfig(length=64, tokens=LEVELS, num_classes=10, width=48, depth=2, dropout=0.05)
    network = TokenTransformer(config)
    average = deepcopy(network).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(seed)
    history: list[tuple[int, float, float]] = []
    start, seconds, checkpoint = 0, 0.0, out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        history, start, seconds = [tuple(r) for r in state["history"]], state["step"], state["seconds"]
    running, count, began, done = 0.0, 0, time.monotonic(), start
    for step in range(start, steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * decay_of(step)
        chosen = torch.randint(len(tokens), (batch,), generator=generator)
        dropped = torch.rand(batch, generator=generator) < LABEL_DROPOUT
        loss = loss_of(network, tokens[chosen], torch.where(dropped, 10, labels[chosen]), generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        decay = min(0.998, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1.0 - decay)
        running, count, done = running + float(loss.detach()), count + 1, step + 1
        late = time.monotonic() - began > 60 * minutes
        if done % 200 == 0 or done == steps or late:
            with torch.no_grad():
                fixed = torch.Generator().manual_seed(7)
                value = float(loss_of(average, held.repeat(2, 1), held_labels.repeat(2), fixed))
            history.append((done, running / count, value))
            print(f"step {done:6d}  train {running / count:.4f}  held out {value:.4f}", flush=True)
            running, count = 0.0, 0
            state = {
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "generator": generator.get_state(),
                "torch": torch.get_rng_state(),
                "history": history,
                "step": done,
                "seconds": seconds + time.monotonic() - began,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
        if late:
            break
    record: dict[str, Any] = {
        "data": "sklearn.datasets.load_digits",
        "licence": "CC BY 4.0",
        "images": len(tokens),
        "held_out": len(held),
        "steps": done,
        "batch": batch,
        "seed": seed,
        "learning_rate": rate,
        "label_dropout": LABEL_DROPOUT,
        "seconds": round(seconds + time.monotonic() - began),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
        "loss_train": history[-1][1],
        "loss_held_out": history[-1][2],
    }
    finish(out, average, history, record, per_class)
    checkpoint.unlink(missing_ok=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for all artefacts")
    parser.add_argument("--steps", type=int, default=3400)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many minutes, and write the card")
    parser.add_argument("--per-class", type=int, default=10, help="samples of each label that are judged")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    train(given.out, given.steps, given.batch, given.seed, given.rate, given.minutes, given.per_class)


if __name__ == "__main__":
    main()
