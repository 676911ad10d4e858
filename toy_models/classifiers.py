"""Train the classifier of noisy images of a toy model, for classifier guidance; a minute or two on one core.

python toy_models/classifiers.py digits
python toy_models/classifiers.py emoji-32
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from features import SEED, script, shifted
from safetensors.torch import save_file

import diffnum as dn
from diffnum.models.classifiers import LEVELS, clean_time, with_level
from diffnum.models.quality.features import FeatureNet

HERE = Path(__file__).parent
BANDS = (-3.0, -1.0, 1.0, 3.0)
"""Half-log-SNRs at which the accuracy on held-out images is told."""


def noised(x: torch.Tensor, level: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images at half-log-SNRs of shape (n,), with their level, on a variance-preserving process."""
    alpha, sigma = (torch.sigmoid(sign * 2.0 * level).sqrt()[:, None, None, None] for sign in (1, -1))
    return with_level(alpha * x + sigma * torch.randn(x.shape, generator=generator), level)


def main() -> None:
    """Read the command line, train, and write ``classifier.safetensors`` into the folder of the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("digits", "emoji-32"))
    parser.add_argument("--cache", type=Path, default=HERE / "emoji-32" / "cache", help="folder of the npm package")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=64)
    arguments = parser.parse_args()
    source = script(arguments.model)
    images, labels = source.digits() if arguments.model == "digits" else source.emoji(arguments.cache)
    held, schedule = source.HELD_OUT, dn.load(f"toy/{arguments.model}").schedule
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
    facts = {"held_out_accuracy": accuracy, "seed": SEED, "steps": arguments.steps, "batch": arguments.batch}
    tensors = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    path = HERE / arguments.model / "classifier.safetensors"
    save_file(tensors, path, metadata={"diffnum": json.dumps(facts)})
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size} bytes, {facts}")


if __name__ == "__main__":
    main()
