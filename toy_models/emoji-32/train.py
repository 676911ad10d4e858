"""Train the class-conditional emoji model on GPUs or CPU cores; a run that was stopped goes on where it was.

python toy_models/emoji-32/train.py --out toy_models/emoji-32
torchrun --nproc-per-node 2 toy_models/emoji-32/train.py --out toy_models/emoji-32
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import os
import subprocess
import tarfile
import time
from copy import deepcopy
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image

from diffnum.models.sampling import plan_for, sample
from diffnum.models.toy import load_toy
from diffnum.plot import image_grid
from diffnum.schedules import Tabulated
from diffnum.solver import solve

PACKAGE = "emoji-datasource-google"
VERSION = "16.0.0"
SHA256 = "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
GROUPS = ("Smileys & Emotion", "Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Symbols")
NULL = len(GROUPS)
HELD_OUT = 48
LABEL_DROPOUT = 0.1
DECAY_FROM = 0.7
"""Share of the steps after which the learning rate falls; before, a resumed run may still change ``--steps``."""

FASTEST_FEATURE = 3
"""Sinusoids of the timestep below this index (periods under 199 of 1000 steps) are cut off, to keep the flow smooth."""

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "prediction_type": "v_prediction",
    "clip_sample": False,
}


def archive(cache: Path) -> Path:
    """Path of the npm package, fetched into ``cache`` when it is not there, and verified."""
    path = cache / f"{PACKAGE}-{VERSION}.tgz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=cache, check=True)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{path} has SHA-256 {found}, not {SHA256}: delete it and fetch it again")
    return path


def emoji(cache: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Images on white in [-1, 1], shape (n, 3, 32, 32), and group labels, in one fixed shuffled order.

    The sheet without fall-back images of other makers is read, so that every image is Noto's. The table lists
    skin tones as variants of an emoji; only the emoji itself is taken.
    """
    with tarfile.open(archive(cache)) as package:

        def member(name: str) -> bytes:
            handle = package.extractfile(f"package/{name}")
            if handle is None:
                raise ValueError(f"{PACKAGE} {VERSION} has no {name}")
            return handle.read()

        table = json.loads(member("emoji.json"))
        sheet = Image.open(io.BytesIO(member("img/google/sheets-clean/32.png"))).convert("RGBA")
    chosen = [e for e in table if e["category"] in GROUPS and e["has_img_google"]]
    chosen.sort(key=lambda e: int(e["sort_order"]))
    white = Image.new("RGBA", sheet.size, "white")
    white.alpha_composite(sheet)
    pixels = np.asarray(white.convert("RGB"))
    tiles = [pixels[34 * e["sheet_y"] + 1 :, 34 * e["sheet_x"] + 1 :][:32, :32] for e in chosen]
    images = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
    labels = torch.tensor([GROUPS.index(e["category"]) for e in chosen])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(2024))
    return images[order], labels[order]


def network() -> UNet2DModel:
    """U-Net with one attention layer, at 4x4, and smooth operations throughout."""
    levels = 4
    model = UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 32, 96, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        norm_num_groups=8,
        norm_eps=1e-3,
        attention_head_dim=32,
        num_class_embeds=len(GROUPS) + 1,
        resnet_time_scale_shift="scale_shift",
    )
    return slow_features_only(model)


@torch.no_grad()
def slow_features_only(model: UNet2DModel) -> UNet2DModel:
    """Zero the weights through which the fast sinusoids of the timestep enter."""
    weight = model.time_embedding.linear_1.weight
    half = weight.shape[1] // 2
    weight[:, :FASTEST_FEATURE] = 0.0
    weight[:, half : half + FASTEST_FEATURE] = 0.0
    return model


class Levels:
    """Noise levels for training: continuous timesteps with their alpha and sigma.

    Half-log-SNRs are stratified draws, four in five from a normal law around the levels at which shapes form,
    one in five uniform over the range of the schedule.
    """

    def __init__(self) -> None:
        table = DDPMScheduler.from_config(SCHEDULER)
        schedule = Tabulated.from_betas(table.betas.double().numpy())
        self.grid = np.linspace(schedule.t_max, schedule.t_min, 20001)
        self.levels = np.array([float(schedule.half_log_snr(float(t))) for t in self.grid])

    def draw(self, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Timesteps, alphas and sigmas, each of shape (size,)."""
        unit = (torch.arange(size) + torch.rand(size, generator=generator)) / size
        unit = unit[torch.randperm(size, generator=generator)]
        low, high = self.levels[0], self.levels[-1]
        normal = 0.3 + 1.6 * math.sqrt(2.0) * torch.erfinv((2.0 * unit - 1.0).clamp(-0.999, 0.999))
        uniform = low + (high - low) * unit
        flat = torch.rand(size, generator=generator) < 0.2
        level = torch.where(flat, uniform, normal).clamp(low, high)
        t = torch.from_numpy(np.interp(level.numpy(), self.levels, self.grid)).float()
        return t, torch.sigmoid(2.0 * level).sqrt(), torch.sigmoid(-2.0 * level).sqrt()


class Batch(NamedTuple):
    """Noisy images, their timesteps and labels, and the v that the network shall predict, alpha eps - sigma x_0."""

    noisy: torch.Tensor
    t: torch.Tensor
    label: torch.Tensor
    target: torch.Tensor


def noised(x: torch.Tensor, label: torch.Tensor, levels: Levels, generator: torch.Generator) -> Batch:
    """Freshly noised images."""
    t, alpha, sigma = levels.draw(len(x), generator)
    alpha, sigma = alpha[:, None, None, None], sigma[:, None, None, None]
    noise = torch.randn(x.shape, generator=generator)
    return Batch(alpha * x + sigma * noise, t, label, alpha * noise - sigma * x)


def v_loss(model: UNet2DModel, batch: Batch) -> torch.Tensor:
    """Mean square error of the v-prediction."""
    noisy, t, label, target = (part.to(model.device) for part in batch)
    predicted = model(noisy.to(model.dtype), t.to(model.dtype), class_labels=label).sample
    return (predicted.float() - target).square().mean()


def train(
    out: Path, cache: Path, steps: int, until: int | None, batch: int, seed: int, rate: float, threads: int
) -> None:
    """Train, resuming from ``checkpoint.pt`` when it is there, and write every artefact of the card.

    ``steps`` sets the fall of the learning rate; ``until`` ends the run before, where time is short.

    Master weights, their average and the optimiser are float32; forward and backward run in bfloat16. Every process
    draws the whole batch and works on its share, so their number changes nothing but rounding.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    cuda = torch.cuda.is_available()
    if world > 1:
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    images, labels = emoji(cache)
    held, held_labels = images[:HELD_OUT], labels[:HELD_OUT]
    images, labels = images[HELD_OUT:], labels[HELD_OUT:]
    levels = Levels()

    master = network().to(device)
    average = deepcopy(master).eval().requires_grad_(False)
    worker = deepcopy(master).to(torch.bfloat16)
    optimizer = torch.optim.AdamW(master.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(seed)
    history: list[tuple[int, float, float]] = []
    start, seconds = 0, 0.0
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        master.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        history, start, seconds = [tuple(r) for r in state["history"]], state["step"], state["seconds"]
        if start > DECAY_FROM * steps and steps != state["steps"]:
            raise ValueError(f"--steps {steps} would decay from before step {start}, where this run already is")
        print(f"resuming at step {start}")

    masters, workers, averages = (list(m.parameters()) for m in (master, worker, average))
    running, count, began = 0.0, 0, time.monotonic()
    last = steps if until is None else until
    for step in range(start, last):
        for group in optimizer.param_groups:
            fall = (steps - step) / (steps - DECAY_FROM * steps)
            group["lr"] = rate * min(1.0, (step + 1) / 200, max(0.01, fall))
        with torch.no_grad():
            torch._foreach_copy_(workers, masters)
        chosen = torch.randint(len(images), (batch,), generator=generator)
        dropped = torch.rand(batch, generator=generator) < LABEL_DROPOUT
        drawn = noised(images[chosen], torch.where(dropped, NULL, labels[chosen]), levels, generator)
        loss = v_loss(worker, Batch(*(part[rank::world] for part in drawn)))
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = torch.cat([p.grad.float().flatten() for p in workers] + [loss.detach().float().reshape(1)])
        if world > 1:
            torch.distributed.all_reduce(gradient)
        gradient /= world
        parts = gradient[:-1].split([p.numel() for p in masters])
        for full, low, part in zip(masters, workers, parts, strict=True):
            full.grad, low.grad = part.view_as(full), None
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimizer.step()
        slow_features_only(master)
        decay = min(0.999, (1.0 + step) / (10.0 + step))
        with torch.no_grad():
            torch._foreach_lerp_(averages, masters, 1.0 - decay)
        running, count = running + float(gradient[-1]), count + 1
        if (step + 1) % 100 == 0 or step + 1 == last:
            with torch.no_grad():
                fixed = torch.Generator().manual_seed(7)
                value = float(v_loss(average, noised(held.repeat(2, 1, 1, 1), held_labels.repeat(2), levels, fixed)))
            history.append((step + 1, running / count, value))
            spent = time.monotonic() - began
            rest = f"{(step + 1 - start) / spent:.2f} steps/s  {spent + seconds:.0f} s"
            if rank == 0:
                print(f"step {step + 1:6d}  train {running / count:.4f}  held out {value:.4f}  {rest}", flush=True)
            running, count = 0.0, 0
            if rank:
                continue
            partial = checkpoint.with_suffix(".part")
            torch.save(
                {
                    "model": master.state_dict(),
                    "average": average.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "generator": generator.get_state(),
                    "history": history,
                    "step": step + 1,
                    "steps": steps,
                    "seconds": seconds + spent,
                },
                partial,
            )
            partial.replace(checkpoint)
    seconds += time.monotonic() - began
    if rank == 0:
        record: dict[str, object] = {
            "data": f"{PACKAGE} {VERSION} (npm), img/google/sheets-clean/32.png",
            "data_sha256": SHA256,
            "licence": "Apache-2.0",
            "images": len(images),
            "held_out": len(held),
            "groups": list(GROUPS),
            "steps": last,
            "planned": steps,
            "batch": batch,
            "seed": seed,
            "learning_rate": rate,
            "label_dropout": LABEL_DROPOUT,
            "seconds": round(seconds),
            "processes": world,
            "device": "GPU" if cuda else "CPU core",
            "torch": torch.__version__,
            "date": datetime.now(UTC).date().isoformat(),
            "loss_train": history[-1][1],
            "loss_held_out": history[-1][2],
        }
        finish(out, average, history, record, images, held)
        checkpoint.unlink(missing_ok=True)
    if world > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def finish(
    out: Path,
    average: UNet2DModel,
    history: list[tuple[int, float, float]],
    training: dict[str, object],
    images: torch.Tensor,
    held: torch.Tensor,
) -> None:
    """Write network and scheduler in diffusers' format, what was measured, figures and card."""
    average = average.to("cpu", torch.float16)
    DDPMPipeline(average, DDPMScheduler.from_config(SCHEDULER)).save_pretrained(out)
    file = "unet/diffusion_pytorch_model.safetensors"
    weights = out / file
    weights.chmod(0o644)
    record: dict[str, Any] = {
        "id": "toy/emoji-32",
        "options": {"null_label": True, "value_range": [-1.0, 1.0]},
        "sha256": {file: hashlib.sha256(weights.read_bytes()).hexdigest()},
        "parameters": sum(p.numel() for p in average.parameters()),
        "training": training,
    }
    (out / "diffnum.json").write_text(json.dumps(record, indent=2) + "\n")
    draw(out, history)
    record |= {"smoothness": smoothness(out), "neighbours": neighbours(out, images, held)}
    (out / "diffnum.json").write_text(json.dumps(record, indent=2) + "\n")
    rows = zip(record["smoothness"]["steps"], record["smoothness"]["errors"], strict=True)
    orders = ["", *(f"{p:.2f}" for p in record["smoothness"]["orders"])]
    table = "\n".join(f"| {n} | {e:.2e} | {p} |" for (n, e), p in zip(rows, orders, strict=True))
    listed = ", ".join(f"{i} {name}" for i, name in enumerate(GROUPS))
    values = {**training, **record["neighbours"], "parameters": record["parameters"], "listed": listed, "null": NULL}
    template = (Path(__file__).parent / "card.md.in").read_text()
    (out / "README.md").write_text(
        template.format(**values, bytes=weights.stat().st_size, smoothness=table, decay_from=DECAY_FROM)
    )


def draw(out: Path, history: list[tuple[int, float, float]]) -> None:
    """Write the loss curve and a grid of samples, one row a group and last the unconditional ones."""
    with (out / "loss_curve.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["step", "train", "held_out"])
        rows.writerows([s, f"{a:.6f}", f"{b:.6f}"] for s, a, b in history)
    figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
    step, train, held = zip(*history, strict=True)
    axes.plot(step, train, label="train (with dropout)")
    axes.plot(step, held, label="held out (EMA)")
    axes.set(xlabel="step", ylabel="v loss", yscale="log")
    axes.legend()
    figure.savefig(out / "loss_curve.png", dpi=100)
    plt.close(figure)
    model = load_toy(out)
    found = [
        sample(model.conditioned(label), "dpmpp_2m", n=12, nfe=20, seed=i)
        for i, label in enumerate((*range(len(GROUPS)), None))
    ]
    (out / "samples.png").write_bytes(image_grid(model.to_image(torch.cat(found)), columns=12, scale=2))


def smoothness(out: Path, steps: tuple[int, ...] = (20, 40, 80)) -> dict[str, object]:
    """Convergence of the classical Runge-Kutta method in float64: order 4 where the network is smooth.

    One sample; errors are relative root mean squares against four times the finest grid.
    """
    model = load_toy(out, dtype=torch.float64).conditioned(0)
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = float(model.schedule.sigma(model.default_t_start)) * x
    exact, *found = (solve(plan_for(model, "rho_rk_rk4", n), model, x) for n in (4 * steps[-1], *steps))
    errors = [float((y - exact).norm() / exact.norm()) for y in found]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    return {"method": "classical Runge-Kutta", "steps": list(steps), "errors": errors, "orders": orders}


def neighbours(out: Path, images: torch.Tensor, held: torch.Tensor, n: int = 96) -> dict[str, object]:
    """Distances to the nearest training image, of samples and of emoji that were held out.

    A sample that is far nearer to a training image than new emoji are is a copy: nearer than half the median distance
    of the held-out ones.
    """
    model = load_toy(out)
    samples = sample(model.conditioned([i % len(GROUPS) for i in range(n)]), "dpmpp_2m", n=n, nfe=20, seed=9, batch=n)
    nearest = [
        torch.cdist(x.flatten(1), images.flatten(1)).amin(1) / math.sqrt(images[0].numel()) for x in (samples, held)
    ]
    usual = float(nearest[1].median())
    return {
        "samples_to_nearest": float(nearest[0].median()),
        "held_out_to_nearest": usual,
        "copies": float((nearest[0] < 0.5 * usual).float().mean()),
        "neighbours_of": n,
    }


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder for all artefacts")
    parser.add_argument(
        "--cache", type=Path, default=Path(__file__).parent / "cache", help="folder for the npm package"
    )
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--until", type=int, help="last step, where the run is to end before --steps")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(**vars(arguments))


if __name__ == "__main__":
    main()
