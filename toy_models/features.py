"""Train the classifier whose penultimate layer serves as features of a toy model's images; a minute on one core.

python toy_models/features.py digits
python toy_models/features.py emoji-32
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file

from diffnum.models.quality.features import FeatureNet

HERE = Path(__file__).parent
SEED = 0


def script(name: str) -> ModuleType:
    """The training script of a model, for its data."""
    spec = importlib.util.spec_from_file_location(f"train_{name}", HERE / name / "train.py")
    if spec is None or spec.loader is None:
        msg = f"{HERE / name} has no train.py"
        raise ValueError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the names in their annotations
    spec.loader.exec_module(module)
    return module


def shifted(x: torch.Tensor, by: int, generator: torch.Generator) -> torch.Tensor:
    """Images moved by up to ``by`` pixels, the same move for a batch, with a little noise."""
    move = torch.randint(-by, by + 1, (2,), generator=generator).tolist()
    background = x[:, :, :1, :1]
    padded = torch.nn.functional.pad(x - background, (by,) * 4) + background
    height, width = x.shape[2:]
    moved = padded[:, :, by + move[0] : by + move[0] + height, by + move[1] : by + move[1] + width]
    return moved + 0.05 * torch.randn(moved.shape, generator=generator)


def main() -> None:
    """Read the command line, train, and write ``features.safetensors`` into the folder of the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("digits", "emoji-32"))
    parser.add_argument("--cache", type=Path, default=HERE / "emoji-32" / "cache", help="folder of the npm package")
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    source = script(arguments.model)
    images, labels = source.digits() if arguments.model == "digits" else source.emoji(arguments.cache)
    held = source.HELD_OUT
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    network = FeatureNet(images.shape[1], int(labels.max()) + 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=arguments.steps)
    for _ in range(arguments.steps):
        chosen = held + torch.randint(len(images) - held, (64,), generator=generator)
        x = shifted(images[chosen], images.shape[2] // 8, generator)
        loss = torch.nn.functional.cross_entropy(network(x), labels[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    network.eval()
    with torch.no_grad():
        right = [float((network(part(images)).argmax(1) == part(labels)).float().mean()) for part in parts(held)]
        data = torch.cat([network.body(batch) for batch in images[held:].split(256)])
    facts = {"train_accuracy": right[0], "held_out_accuracy": right[1], "seed": SEED, "steps": arguments.steps}
    tensors = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    path = HERE / arguments.model / "features.safetensors"
    save_file({**tensors, "data": data.half()}, path, metadata={"diffnum": json.dumps(facts)})
    path.chmod(0o644)
    print(f"{path}: {path.stat().st_size} bytes, {facts}")


def parts(held: int):  # type: ignore[no-untyped-def]
    """Training and held-out part of a tensor."""
    return (lambda z: z[held:], lambda z: z[:held])


if __name__ == "__main__":
    main()
