"""Sets of images by several methods: what is measured, against what, and that it is said."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffnum import cli
from diffnum.models import ModelFileError, load
from diffnum.models.quality import METRICS, Quality, measure_quality
from diffnum.models.quality.features import FeatureNet, features_for
from tests.cli.test_progress import spoken

DIGITS = load("toy/digits")


@pytest.fixture(scope="module")
def quality() -> Quality:
    return measure_quality(DIGITS, ("ddim", "dpmpp_2m"), (5, 10), n=48, seed=1, reference_nfe=80)


def test_everything_is_measured(quality: Quality) -> None:
    assert quality.metrics == tuple(METRICS)
    for row in quality.rows:
        assert row.nfe == (5, 10)
        assert all(len(values) == 2 and np.isfinite(values).all() for values in row.values.values())
    assert set(quality.reference_values) == {"fid_data", "kid_data"}
    assert quality.reference["halving"] < 0.01


def test_distances_to_the_reference_shrink_with_the_error(quality: Quality) -> None:
    ddim = quality.rows[0]  # far enough off that no distance is at its noise
    for name in ("error", "sliced_wasserstein", "mmd", "fid", "kid"):
        assert ddim.values[name][1] < ddim.values[name][0], name


def test_the_reference_against_itself_is_zero() -> None:
    fine = measure_quality(DIGITS, ("dpmpp_3m_corrected",), (40,), n=16, seed=1, reference_nfe=80)
    assert fine.rows[0].values["error"][0] < 1e-2
    for name in ("sliced_wasserstein", "mmd", "fid", "kid"):
        assert abs(fine.rows[0].values[name][0]) < 1e-2


def test_every_number_carries_its_settings(quality: Quality) -> None:
    data = json.loads(json.dumps(quality.to_dict()))
    assert len(data["rows"]) == 4
    for row in data["rows"]:
        assert {"method", "order", "nfe", "steps", "seed", "n", "grid", "terminal", *METRICS} <= set(row)
    assert "not Inception" in data["features"]["about"]
    assert "dpmpp_2m" in str(quality)


def test_a_disagreement_is_found_and_only_then() -> None:
    row = dict.fromkeys(METRICS, (1.0,))

    def made(exact: tuple[float, ...], pretty: tuple[float, ...]) -> tuple[str, ...]:
        rows = [
            types.SimpleNamespace(
                method=method,
                asked=(5,),
                values={**row, "error": (error,), "fid_data": (float(np.mean(blocks)),)},
                blocks=(blocks,),
            )
            for method, error, blocks in (("exact", 0.1, exact), ("pretty", 0.2, pretty))
        ]
        return Quality.disagreements.fget(types.SimpleNamespace(rows=rows, metrics=tuple(METRICS)))  # type: ignore[attr-defined]

    assert made((1.0, 1.0), (2.0, 2.0)) == ()
    (text,) = made((2.0, 2.0), (1.0, 1.5))
    assert "exact has the smallest error" in text
    assert "pretty the smallest Frechet distance to the training images" in text
    assert made((2.0, 2.0), (1.0, 2.1)) == ()  # better on the whole, not in every part: it may be chance


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"n": 7}, "n=7"),
        ({"nfe": (10, 5)}, r"nfe=\[10, 5\]"),
        ({"reference_nfe": 10}, "reference_nfe=10"),
        ({"methods": ()}, "methods is empty"),
        ({"features": "vgg"}, "features='vgg'"),
    ],
)
def test_bad_input_is_named(options: dict[str, Any], named: str) -> None:
    given = {"methods": ("ddim",), "nfe": (5, 10), "n": 8, **options}
    with pytest.raises(ValueError, match=named):
        measure_quality(DIGITS, given.pop("methods"), given.pop("nfe"), given.pop("n"), **given)


# ---------------------------------------------------------------- features


def test_shipped_features_know_the_data() -> None:
    found = features_for(DIGITS)
    assert found.source == "shipped"
    assert found.data is not None
    assert found.data.shape == (1600, 64)
    x = torch.rand(5, 1, 8, 8) * 2.0 - 1.0
    assert found(DIGITS, x).shape == (5, 64)
    assert features_for(load("toy/digits-flow")).data is not None  # variants of a model share its features


def test_random_features_are_the_same_everywhere() -> None:
    """Drawn by numpy's Philox from the number of channels: one value pins them down."""
    found = features_for(DIGITS, "random")
    x = torch.linspace(-1.0, 1.0, 64).reshape(1, 1, 8, 8)
    first, again = found(DIGITS, x), features_for(DIGITS, "random")(DIGITS, x)
    assert np.array_equal(first, again)
    assert found.data is None
    assert "random weights" in found.about


def test_inception_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Extractor:
        def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            assert images.dtype == torch.uint8
            assert images.shape[1] == 3
            return (images.float().mean((2, 3)),)

    fake = types.ModuleType("torch_fidelity.utils")
    fake.create_feature_extractor = lambda *_, **__: Extractor()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", types.ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, "torch_fidelity.utils", fake)
    found = features_for(DIGITS, "inception")
    assert found.source == "inception"
    np.testing.assert_allclose(found(DIGITS, torch.ones(2, 1, 8, 8)), 255.0)
    monkeypatch.setitem(sys.modules, "torch_fidelity.utils", None)
    with pytest.raises(ModuleNotFoundError, match="pip install torch-fidelity"):
        features_for(DIGITS, "inception")


def test_a_corrupt_feature_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffnum.models.quality import features

    (tmp_path / "features.safetensors").write_bytes(b"\0" * 32)
    monkeypatch.setattr(features, "toy_folder", lambda _: tmp_path)
    with pytest.raises(ModelFileError, match="not a feature network"):
        features_for(DIGITS)


def test_a_feature_net_takes_any_size() -> None:
    network = FeatureNet(3, 6)
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 6)
    assert network.body(torch.zeros(2, 3, 32, 32)).shape == (2, 64)


# ---------------------------------------------------------------- the command


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(words)
    return int(left.value.code or 0)


def test_compare_writes_one_page_that_says_how_it_was_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "pages" / "digits.html"
    words = ["compare", "toy/digits", "--methods", "ddim", "dpmpp_2m", "--nfe", "5", "8", "--n", "1", "--images", "24"]
    assert run(*words, "--tolerance", "1e-4", "--seed", "7", "--out", str(out), "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert [(r["method"], r["nfe"], r["seed"]) for r in data["sets"]["rows"]] == [
        (m, k, 7) for m in ("ddim", "dpmpp_2m") for k in (5, 8)
    ]
    page = out.read_text()
    assert page.count("<svg") >= 5
    assert "data:image/png;base64" in page
    for text in ("compare", "uniform_half_log_snr", "terminal rule", "not Inception", "seed 7"):
        assert text in page
    assert "http" not in page.replace("http://www.w3.org", "")  # nothing is fetched


@pytest.mark.parametrize(
    "words",
    [
        ("--n", "0", "--images", "0"),
        ("--images", "0", "--out", "page.html"),
        ("--n", "0", "--out", "figure.svg"),
        ("--nfe", "5", "--frobnicate"),
        ("--nfe", "5", "ddin"),
        ("--features", "vgg", "--n", "0"),
    ],
    ids=" ".join,
)
def test_bad_words_are_one_line(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "toy/digits", *words) == 2
    lines = [line for line in spoken(capsys.readouterr().err).splitlines() if not line.endswith(" ...")]
    assert len(lines) == 1
