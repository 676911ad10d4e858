"""Train classifiers of noisy images of a toy model, for guidance; a few minutes on one core.

python toy_models/classifiers.py digits
python toy_models/classifiers.py emoji-32
python toy_models/classifiers.py digits --labels minority
python toy_models/classifiers.py emoji-32 --labels minority --draws 2 --steps 800

``--labels classes`` writes ``classifier.safetensors``; ``--labels minority`` writes ``minority.safetensors``, whose
labels are quarters of the images by their distance from what the model makes of their noised versions.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from features import SEED, script, shifted
from safetensors.torch import save_file

import diffnum as dn
from diffnum.guidance import minority_score, quantile_labels
from diffnum.models.classifiers import FILES, LEVELS, clean_time, with_level
from diffnum.models.quality.features import FeatureNet

HERE = Path(__file__).parent
BANDS = (-3.0, -1.0, 1.0, 3.0)
"""Half-log-SNRs at which the accuracy on held-out images is told."""

QUARTERS = 4
"""Minority labels: of under two thousand images, more would be a few dozen each."""

MIDDLE = 0.0
"""Half-log-SNR to which images are noised for their minority scores: signal and noise of equal size."""


def noised(x: torch.Tensor, level: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images at half-log-SNRs of shape (n,), with their level, on a variance-preserving process."""
    alpha, sigma = (torch.sigmoid(sign * 2.0 * level).sqrt()[:, None, None, None] for sign in (1, -1))
    return with_level(alpha * x + sigma * torch.randn(x.shape, generator=generator), level)


def minority_labels(model: Any, images: torch.Tensor, held: int, draws: int) -> tuple[torch.Tensor, dict[str, Any]]:
    """Quarters of the images by minority score, cut where the training images are cut; and how they were found."""
    time = float(model.schedule.time(MIDDLE))
    scores = np.concatenate(
        [minority_score(model, part, time, draws=draws, seed=SEED).numpy() for part in images.split(128)]
    )
    edges = np.quantile(scores[held:], np.arange(1, QUARTERS) / QUARTERS)
    labels = np.searchsorted(edges, scores)
    if not np.array_equal(labels[held:], quantile_labels(scores[held:], QUARTERS)):
        msg = "labels of the training images are not their quarters"
        raise ValueError(msg)
    facts = {"half_log_snr": MIDDLE, "draws": draws, "edges": [round(float(e), 6) for e in edges]}
    return torch.from_numpy(labels), facts


def main() -> None:
    """Read the command line, train, and write the weights into the folder of the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("digits", "emoji-32"))
    parser.add_argument("--labels", choices=("classes", "minority"), default="classes")
    parser.add_argument("--cache", type=Path, default=HERE / "emoji-32" / "cache", help="folder of the npm package")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--draws", type=int, default=8, help="draws of the noise for minority scores")
    arguments = parser.parse_args()
    source = script(arguments.model)
    images, labels = source.digits() if arguments.model == "digits" else source.emoji(arguments.cache)
    model, facts = dn.load(f"toy/{arguments.model}"), {}
    held, schedule = source.HELD_OUT, model.schedule
    if arguments.labels == "minority":
        labels, facts = minority_labels(model, images, held, arguments.draws)
    low, high = (float(schedule.half_log_snr(t)) for t in (schedule.t_max, clean_time(schedule)))
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    network = FeatureNet(images.shape[1] + LEVELS, int(labels.max()) + 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=arguments.steps)
    for _ in range(arguments.steps):
        chosen = held + torch.randint(len(images) - held, (arguments.batch,), generator=generator)
        level = low + (high - low) * torch.rand(arguments.batch, generator=generator)
        x = noised(shifted(images[chosen], images.shape[2] // 8, generator), level, generator)
        loss = torch.nn.functional.cross_entropy(network(x), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    network.eval()
    accuracy = {}
    with torch.no_grad():
        for level in BANDS:
            x = noised(images[:held], torch.full((held,), level), generator)
            accuracy[str(level)] = round(float((network(x).argmax(1) == labels[:held]).float().mean()), 3)
    facts |= {"held_out_accuracy": accuracy, "seed": SEED, "steps": arguments.steps, "batch": arguments.batch}
    tensors = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    path = HERE / arguments.model / FILES["minority" if arguments.labels == "minority" else "noisy"]
    save_file(tensors, path, metadata={"diffnum": json.dumps(facts)})
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size} bytes, {facts}")


if __name__ == "__main__":
    main()
