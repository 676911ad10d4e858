"""Sample the small masked transformer by every sampler on tokens; what was done is kept, and a run goes on from there.

python toy_models/digits-tokens/measure.py --out book/results/tokens-digits.json

For each sampler and number of steps: the Frechet distance in eight principal directions of the training images to these
images and to samples of the network itself (first-hitting sampler, exact in law, other seed), with standard errors by
the bootstrap; how often a classifier reads the label that was asked for; the first sample of each label; how many
evaluations there were, and the processor time of the run over theirs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.svm import SVC
from train import HELD_OUT, STEPS, digits, projection

import diffnum as dn
from diffnum.discrete import Masked, sample, samplers
from diffnum.jobs.data import json_text, read_json
from diffnum.models.quality.metrics import frechet_distance

BATCH = 200
"""Sequences that are drawn at once."""

REFERENCE = 5
"""Times as many samples of the network itself are compared to."""

RESAMPLED = 100
"""Draws of the bootstrap."""


class Timed:
    """A model that counts its evaluations, and the processor time that they take."""

    def __init__(self, model: Any) -> None:
        self.model, self.length, self.tokens = model, model.length, model.tokens
        self.calls, self.seconds = 0, 0.0

    def __call__(self, x: Any, t: Any) -> Any:
        """Posterior marginals."""
        began = time.process_time()
        out = self.model(x, t)
        self.seconds += time.process_time() - began
        self.calls += 1
        return out


class Judge:
    """What samples are compared to: the training images, and samples of the network."""

    def __init__(self, model: Any, per_class: int) -> None:
        images, labels = (part.numpy() for part in digits())
        real = images[HELD_OUT:].astype(float)
        self.model, self.asked = model, np.tile(np.arange(10), per_class)
        self.centre, self.directions = projection(real)
        self.real, self.held = self.features(real), self.features(images[:HELD_OUT])
        self.classifier = SVC(gamma=0.02 * (8 / 1.5) ** 2 / 4, C=10.0).fit(real, labels[HELD_OUT:])
        self.own = np.concatenate(
            [self.features(self.drawn("first_hitting", None, seed=1000 * k)[0]) for k in range(1, REFERENCE + 1)]
        )

    def features(self, x: Any) -> Any:
        """Coordinates in the principal directions."""
        return (x - self.centre) @ self.directions.T

    def drawn(self, name: str, steps: int | None, seed: int) -> tuple[Any, list[Timed], float]:
        """Samples with all labels, the models that were timed, and the processor time."""
        parts, models, seconds = [], [], 0.0
        for k, labels in enumerate(np.array_split(self.asked, -(-len(self.asked) // BATCH))):
            models.append(Timed(self.model.conditioned(labels)))
            began = time.process_time()
            parts.append(sample(models[-1], Masked(), name, len(labels), steps, seed=seed + k))
            seconds += time.process_time() - began
        return np.concatenate(parts).astype(float), models, seconds

    def row(self, name: str, steps: int | None) -> dict[str, Any]:
        """What is written of a sampler at a number of steps."""
        x, models, seconds = self.drawn(name, steps, seed=5)
        features = self.features(x)
        rng = np.random.Generator(np.random.Philox(0))
        row: dict[str, Any] = {"sampler": name, "steps": steps}
        row["evaluations"] = max(model.calls for model in models)
        for what, to in (("data", self.real), ("network", self.own)):
            resampled = [
                frechet_distance(*(part[rng.integers(len(part), size=len(part))] for part in (features, to)))
                for _ in range(RESAMPLED)
            ]
            row[f"frechet_to_{what}"] = float(frechet_distance(features, to))
            row[f"frechet_to_{what}_error"] = float(np.std(resampled))
        row["read_right"] = float(self.classifier.score(x, self.asked))
        row["distinct"] = len(np.unique(x, axis=0)) / len(x)
        row["first_of_each_label"] = ["".join(str(int(token)) for token in one) for one in x[:10]]
        row["time_over_network"] = seconds / sum(model.seconds for model in models)
        return row


def cells() -> list[tuple[str, int | None]]:
    """Every sampler of masked data with every number of steps that means something for it, a few steps first."""
    known = samplers("masked")
    fixed = [name for name, record in known.items() if record.exact or getattr(record.rule, "one", False)]
    spread = [(name, steps) for steps in (*STEPS[::2], *STEPS[1::2]) for name in known if name not in fixed]
    return [*((name, None) for name in fixed), *spread]


def main() -> None:
    """Read the command line, and measure what the file has not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("book/results/tokens-digits.json"))
    parser.add_argument("--per-class", type=int, default=20, help="samples of each label")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = dn.models.load_tokens("digits-tokens")
    judge = Judge(model, given.per_class)
    head = {
        "command": f"python toy_models/digits-tokens/measure.py --per-class {given.per_class} --out {given.out}",
        "model": model.name,
        "samples": len(judge.asked),
        "reference": len(judge.own),
        "frechet_held_out_to_data": float(frechet_distance(judge.held, judge.real)),
        "frechet_held_out_to_network": float(frechet_distance(judge.held, judge.own)),
        "versions": {"numpy": np.__version__, "torch": torch.__version__},
    }
    found = read_json(given.out) if given.out.is_file() else {"rows": []}
    rows = found["rows"] if {k: v for k, v in found.items() if k != "rows"} == head else []
    done = {(row["sampler"], row["steps"]) for row in rows}
    todo = [cell for cell in cells() if cell not in done]
    print(f"{len(done)} cells are done, {len(todo)} to do", flush=True)
    for k, (name, steps) in enumerate(todo, start=1):
        rows.append(judge.row(name, steps))
        part = given.out.with_suffix(".part")
        part.write_text(json_text({**head, "rows": rows}))
        part.replace(given.out)
        print(f"{k}/{len(todo)} {rows[-1]}", flush=True)


if __name__ == "__main__":
    main()
