"""The plans in the repository are those of its networks, and better than the catalogue on noises of another seed."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import diffnum as dn
from diffnum.jobs.ledger import digest
from diffnum.plans.found import FoundElsewhereWarning
from diffnum.plans.identity import identity_of, weights_digest

pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "toy_models" / "plans"
DIGITS = sorted(FOLDER.glob("toy-digits-[0-9]*.json"))
SHIPPED = sorted(FOLDER.glob("toy-*.json"))
MEASURED: list[dict[str, Any]] = json.loads((ROOT / "book/results/found_plans.json").read_text(encoding="utf-8"))[
    "rows"
]
PROMISED = {5: 0.40, 8: 0.33}
"""Error over that of the best of the catalogue, at most."""
RATIOS = {
    "toy-digits-5": 0.40,
    "toy-digits-8": 0.33,
    "galaxies-hsc-32-5": 0.50,
    "galaxies-hsc-32-8": 0.50,
    "toy-emoji-32-8": 0.70,
}
"""The same, of the rows that the benchmark wrote."""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_plan_says_which_network_and_command_it_is_of(path: Path) -> None:
    plan = dn.Plan.from_json(path)
    assert plan.found_for is not None
    network = dn.load(plan.found_for["model"])
    assert path.stem.startswith(network.name.replace("/", "-"))
    assert plan.found_for["sha256"] == weights_digest(network)
    assert plan.schedule == network.schedule
    assert f"--nfe {plan.nfe} " in plan.found_for["command"]
    assert f"--out toy_models/plans/{path.name}" in plan.found_for["command"]
    assert path.stem.endswith(f"-{plan.nfe}")


def test_each_plan_was_measured_as_it_is_on_noises_of_another_seed() -> None:
    home = {row["plan"]: row for row in MEASURED if row["on"] == "its own"}
    assert set(home) == {path.stem for path in FOLDER.glob("*.json")}
    for name, row in home.items():
        plan = dn.Plan.from_json(FOLDER / f"{name}.json")
        assert (plan.found_for or {})["seed"] != row.get("seed", 1)
        if "digest" in row:
            assert row["digest"] == digest(replace(plan, found_for=None).to_dict())


@pytest.mark.parametrize("name", RATIOS)
def test_a_measured_plan_keeps_its_promise_in_error_and_in_law(name: str) -> None:
    (row,) = (row for row in MEASURED if (row["plan"], row["on"]) == (name, "its own"))
    assert row["ratio"] <= RATIOS[name]
    assert row["frechet"] <= row["best_frechet"]


def test_there_is_a_plan_for_each_promised_number_of_evaluations() -> None:
    assert {dn.Plan.from_json(path).nfe for path in DIGITS} >= {4, 5, 6, 8, 10}


def test_a_plan_under_guidance_for_which_it_was_not_found_says_so_once() -> None:
    plan, network = dn.Plan.from_json(FOLDER / "toy-digits-4.json"), dn.load("toy/digits")
    guided = dn.guidance.classifier_free(network.conditioned(3), 4.0)
    with pytest.warns(FoundElsewhereWarning, match="guidance None, here 4.0") as said:
        dn.sample(guided, plan, n=3, batch=1)
    assert len(said) == 1


def test_a_plan_on_other_weights_or_another_class_says_so() -> None:
    import torch

    plan, network = dn.Plan.from_json(FOLDER / "toy-digits-4.json"), dn.load("toy/digits")
    x = torch.zeros(1, *network.sample_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dn.solve(plan, network, x)
        dn.sample(network, plan, n=1)
        dn.sample(network.conditioned(3), plan, n=1)  # found without a class, and meant for any
    with pytest.warns(FoundElsewhereWarning, match=r"guidance None, here 2\.0"):
        dn.solve(plan, dn.guidance.classifier_free(network.conditioned(3), 2.0), x)
    with pytest.warns(FoundElsewhereWarning, match="label 4, here 3"):
        dn.sample(network.conditioned(3), replace(plan, found_for={**(plan.found_for or {}), "label": 4}), n=1)
    for found_for in ({"label": 3}, {"label": "each"}):
        kept = replace(plan, found_for={**(plan.found_for or {}), **found_for})
        with pytest.warns(FoundElsewhereWarning, match="label .*, here None"):
            dn.solve(kept, network, x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dn.sample(network.conditioned(3), kept, n=1)
    with torch.no_grad():
        next(iter(network.module.parameters())).mul_(1.001)
    with pytest.warns(FoundElsewhereWarning, match="found for other weights of 'toy/digits'"):
        dn.solve(plan, network, x)


def test_what_is_known_of_one_class_or_guidance_is_not_taken_for_another() -> None:
    """Networks with the same weights share no end points of a teacher."""
    network = dn.load("toy/digits")
    one = network.conditioned(1)
    models = {
        "null": network,
        "one": one,
        "two": network.conditioned(2),
        "guided": dn.guidance.classifier_free(one, 2.0),
        "guided more": dn.guidance.classifier_free(one, 3.0),
        "between": dn.guidance.classifier_free(one, 2.0, interval=(0.1, 1.0)),
        "rescaled": dn.guidance.classifier_free(one, 2.0, rescale=0.5),
        "falling": dn.guidance.classifier_free(one, lambda t: 1.0 + t),
        "falling more": dn.guidance.classifier_free(one, lambda t: 1.0 + 2.0 * t),
        "projected": dn.guidance.projected(one, 2.0),
        "projected more": dn.guidance.projected(one, 3.0),
    }
    found = {name: identity_of(model) for name, model in models.items()}
    assert len({json.dumps(one, sort_keys=True) for one in found.values()}) == len(models)
    assert found["guided"] == identity_of(dn.guidance.classifier_free(network.conditioned(1), 2.0))


@pytest.mark.slow
@pytest.mark.parametrize("nfe", PROMISED)
def test_a_plan_keeps_its_promise_on_noises_of_another_seed(nfe: int) -> None:
    from diffnum.calibration.hosts import host_of
    from diffnum.calibration.rivals import catalogue_plans, endpoint_error, ranked
    from diffnum.calibration.teachers import converged_samples

    plan = dn.Plan.from_json(FOLDER / f"toy-digits-{nfe}.json")
    network = dn.load("toy/digits")
    ends = network.default_t_start, network.default_t_end
    samples = converged_samples(host_of(network), ends, 96, seed=7)
    rivals = ranked(catalogue_plans(network.schedule, ends, nfe), samples.head(16))[:12]
    assert endpoint_error(plan, samples) < PROMISED[nfe] * ranked(rivals, samples)[0].error
