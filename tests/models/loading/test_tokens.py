"""The small masked transformer: loading, labels, samples, and the order of samplers on a few of its pixels, exactly."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from diffnum.discrete import Masked, ModelSpace, TokenModel, Uniform, output_law, sample, samplers
from diffnum.models import MissingModelError, ModelFileError, load_tokens

FOLDER = Path(__file__).parents[3] / "toy_models" / "digits-tokens"


@cache
def model() -> Any:
    return load_tokens("digits-tokens")


def test_it_is_a_model_of_tokens_that_sees_no_time() -> None:
    assert isinstance(model(), TokenModel)
    x = np.full((2, 64), 4)
    x[1, :20] = 0
    p = model()(x, 0.5)
    assert p.shape == (2, 64, 4)
    np.testing.assert_allclose(p.sum(axis=-1), 1.0, atol=1e-12)
    assert np.array_equal(p, model()(x, 0.1))
    assert not np.allclose(p[0, 30], p[1, 30])


def test_a_label_or_one_for_each_conditions_it() -> None:
    x = np.full((2, 64), 4)
    both = model().conditioned([3, 7])(x, 0.5)
    np.testing.assert_allclose(both[0], model().conditioned(3)(x[:1], 0.5)[0], atol=1e-5)
    assert not np.allclose(both[0], both[1], atol=1e-2)
    assert np.array_equal(model().conditioned(None)(x, 0.5), model()(x, 0.5))
    with pytest.raises(ValueError, match="label=10"):
        model().conditioned(10)
    with pytest.raises(ValueError, match="2 labels for 3 sequences"):
        model().conditioned([3, 7])(np.full((3, 64), 4), 0.5)


@pytest.mark.parametrize("name", ["ancestral", "theta_trapezoidal_clock", "confidence", "first_hitting"])
def test_samples_are_tokens_without_masks_and_the_same_for_the_same_seed(name: str) -> None:
    x = sample(model().conditioned(0), Masked(), name, 3, 8, seed=1)
    assert x.shape == (3, 64)
    assert x.min() >= 0
    assert x.max() < 4
    assert np.array_equal(x, sample(model().conditioned(0), Masked(), name, 3, 8, seed=1))


def test_uniformisation_knows_which_label_is_whose() -> None:
    x = sample(model().conditioned([0, 1]), Masked(), "uniformisation", 2, seed=3)
    assert x.shape == (2, 64)
    assert x.max() < 4


def test_another_noise_than_it_was_trained_on_is_refused() -> None:
    with pytest.raises(ValueError, match="made for the masked"):
        sample(model(), Uniform(), "ancestral", 2, 4)


def test_samplers_have_their_orders_on_pixels_of_the_network() -> None:
    """Three neighbouring pixels are free, the others those of a sample: laws by enumeration, the network as it is."""
    held = sample(model().conditioned(3), Masked(), "first_hitting", 1, seed=0)[0]
    held[[27, 28, 35]] = -1
    space = ModelSpace(model().conditioned(3), held)
    assert output_law("first_hitting", space).tv < 1e-14
    far = [output_law("ancestral", space, steps=k).tv for k in (16, 32, 64)]
    assert far[0] > 1e-4
    assert np.log2(far[1] / far[2]) == pytest.approx(1.0, abs=0.1)
    assert output_law("theta_trapezoidal_clock", space, steps=32).tv < far[1]


def test_positions_that_are_held_are_checked() -> None:
    with pytest.raises(ValueError, match="no position free"):
        ModelSpace(model(), np.zeros(64, dtype=int))
    with pytest.raises(ValueError, match="too many to enumerate"):
        ModelSpace(model(), np.full(64, -1))
    with pytest.raises(ValueError, match="-1 where free"):
        ModelSpace(model(), np.full(64, 4))


def test_other_weights_and_cards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="not here"):
        load_tokens("no-such-model")
    shutil.copytree(FOLDER, tmp_path / "copy")
    card = json.loads((tmp_path / "copy" / "tokens.json").read_text())
    assert load_tokens(tmp_path / "copy").name == "toy/digits-tokens"
    (tmp_path / "copy" / "tokens.json").write_text(json.dumps(card | {"sha256": "0" * 64}))
    with pytest.raises(ModelFileError):
        load_tokens(tmp_path / "copy")
    (tmp_path / "copy" / "tokens.json").write_text("{}")
    with pytest.raises(ModelFileError, match="malformed"):
        load_tokens(tmp_path / "copy")


def test_the_card_tells_what_was_measured() -> None:
    card = json.loads((FOLDER / "tokens.json").read_text())
    assert (FOLDER / card["weights"]).stat().st_size < 5e6
    rows = {(row["sampler"], row["steps"]): row["frechet"] for row in card["quality"]["rows"]}
    assert {steps for name, steps in rows if name == "ancestral"} == {4, 8, 16, 32, 64}
    assert rows["ancestral", 64] < rows["ancestral", 4]
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{rows['ancestral', 64]:.2f}" in text


def test_the_measured_samplers_are_all_of_them_at_every_number_of_steps() -> None:
    rows = json.loads((FOLDER.parents[1] / "book/results/tokens-digits.json").read_text())["rows"]
    assert {row["sampler"] for row in rows} == set(samplers("masked"))
    levels = {row["steps"] for row in rows} - {None}
    assert levels == {4, 8, 16, 32, 64}
    assert len(rows) == len({(row["sampler"], row["steps"]) for row in rows})
