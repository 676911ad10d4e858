"""The digits model that ships: it loads, it is what its card says, and it is smooth."""

from __future__ import annotations

import json
import math
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from diffnum.models import MissingModelError, ModelFileError, load
from diffnum.models.loading.toy import ConditionalMLP, ConditionalMLPConfig, load_toy, toy_names
from diffnum.models.quality.metrics import sliced_wasserstein
from diffnum.models.runs.sampling import initial_noise, sample
from diffnum.schedules import FlowMatching

FOLDER = Path(__file__).resolve().parents[3] / "toy_models" / "digits"


def states(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn((n, 1, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_digits_is_present_and_described() -> None:
    assert "digits" in toy_names()
    model = load("toy/digits")
    assert (model.prediction, model.sample_shape, model.num_classes) == ("v", (1, 8, 8), 10)
    assert (model.name, model.value_range, model.dtype) == ("toy/digits", (-1.0, 1.0), torch.float32)
    assert model(states(2).float(), 0.5).shape == (2, 1, 8, 8)


def test_weights_are_small() -> None:
    assert (FOLDER / "digits.safetensors").stat().st_size <= 2.5e6


def test_one_flipped_bit_is_refused(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "digits")
    load_toy(tmp_path / "digits")
    weights = tmp_path / "digits" / "digits.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ModelFileError, match="SHA-256"):
        load_toy(tmp_path / "digits")


@pytest.mark.parametrize("text", ["{", "{}", "[]", json.dumps({"architecture": "transformer"})])
def test_a_malformed_card_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"config\.json: malformed"):
        load_toy(tmp_path)


def test_missing_folders_and_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match=r"'letters' is not here; present: .*digits"):
        load_toy("letters")
    shutil.copy(FOLDER / "config.json", tmp_path)
    with pytest.raises(MissingModelError, match=r"digits\.safetensors is missing"):
        load_toy(tmp_path)


def test_precisions_agree() -> None:
    coarse, fine = load("toy/digits"), load("toy/digits", dtype="float64")
    x = states(4)
    for t in (1e-3, 0.2, 1.0):
        torch.testing.assert_close(coarse(x.float(), t).double(), fine(x, t), rtol=1e-4, atol=1e-4)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    model = load("toy/digits", dtype="float64").conditioned(3)
    x = states(6)
    torch.testing.assert_close(model(x, 0.3)[2:3], model(x[2:3], 0.3), rtol=0, atol=1e-12)


def test_time_acts_continuously() -> None:
    model = load("toy/digits", dtype="float64")
    x = states(1)
    near, far = (float((model(x, 0.3 + d) - model(x, 0.3)).norm()) for d in (1e-7, 1e-5))
    assert far / near == pytest.approx(100.0, rel=0.01)


def test_labels_matter_and_the_null_label_is_the_default() -> None:
    model = load("toy/digits", dtype="float64")
    x = states(2)
    assert float((model.conditioned(0)(x, 0.5) - model.conditioned(1)(x, 0.5)).abs().max()) > 0.1
    torch.testing.assert_close(model(x, 0.5), model.conditioned(None)(x, 0.5), rtol=0, atol=0)


def runge_kutta_orders(module: torch.nn.Module, steps: tuple[int, ...]) -> list[float]:
    """Observed orders of the classical method on dx/dlam = -v / (2 cosh lam), between successive grids."""
    model = load("toy/digits", dtype="float64")
    low, high = (float(model.schedule.half_log_snr(t)) for t in (model.default_t_start, model.default_t_end))
    labels = torch.arange(4)

    def slope(x: torch.Tensor, lam: float) -> torch.Tensor:
        with torch.no_grad():
            out: torch.Tensor = module(x, torch.full((4,), lam, dtype=torch.float64), labels)
        return -out / (2.0 * math.cosh(lam))

    def solve(n: int) -> torch.Tensor:
        x, h = states(4), (high - low) / n
        for i in range(n):
            lam = low + i * h
            a = slope(x, lam)
            b = slope(x + 0.5 * h * a, lam + 0.5 * h)
            c = slope(x + 0.5 * h * b, lam + 0.5 * h)
            x = x + h / 6.0 * (a + 2.0 * b + 2.0 * c + slope(x + h * c, lam + h))
        return x

    exact = solve(2 * steps[-1])
    errors = [float((solve(n) - exact).norm()) for n in steps[:-1]]
    return [math.log2(a / b) for a, b in pairwise(errors)]


def test_the_network_is_smooth_enough_for_order_four() -> None:
    model = load("toy/digits", dtype="float64")
    for order in runge_kutta_orders(model.module, (20, 40, 80, 160)):
        assert order == pytest.approx(4.0, abs=0.3)


def test_rounding_the_noise_level_would_show() -> None:
    """Negative control: with levels rounded to a table, as index-based networks do, order four is lost."""
    module = load("toy/digits", dtype="float64").module

    class Rounded(torch.nn.Module):
        def forward(self, x: torch.Tensor, level: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = module(x, (level * 100).round() / 100, label)
            return out

    assert min(runge_kutta_orders(Rounded(), (20, 40, 80, 160))) < 3.0


def test_an_untrained_network_of_the_same_sizes_has_as_many_parameters_as_the_card_says() -> None:
    card = json.loads((FOLDER / "config.json").read_text())
    sizes = card["network"]
    network = ConditionalMLP(ConditionalMLPConfig(**{**sizes, "sample_shape": tuple(sizes["sample_shape"])}))
    assert sum(p.numel() for p in network.parameters()) == card["parameters"] <= 600_000


def test_samples_are_closer_to_their_own_class_than_to_others() -> None:
    """Forty DDIM steps for every digit; the nearest mean of the real images tells the class."""
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is absent; pip install '.[train]'")
    data = datasets.load_digits()
    images = torch.from_numpy(data.images).reshape(-1, 64) / 8.0 - 1.0
    means = torch.stack([images[torch.from_numpy(data.target == k)].mean(0) for k in range(10)])
    labels = torch.arange(10).repeat(8)
    model = load("toy/digits", dtype="float64").conditioned(labels)
    s = model.schedule
    low, high = (float(s.half_log_snr(t)) for t in (model.default_t_start, model.default_t_end))
    nodes = [low + (high - low) * i / 40 for i in range(41)]
    x = states(80)
    for a, b in pairwise(nodes):
        t, to = (min(1.0, float(s.time(lam))) for lam in (a, b))
        v = model(x, t)
        clean, noise = s.alpha(t) * x - s.sigma(t) * v, s.sigma(t) * x + s.alpha(t) * v
        x = s.alpha(to) * clean + s.sigma(to) * noise
    nearest = torch.cdist(x.flatten(1), means).argmin(1)
    assert float((nearest == labels).double().mean()) > 0.8


def test_digits_flow_is_the_same_network_as_a_flow() -> None:
    model = load("toy/digits-flow")
    assert (model.prediction, model.sample_shape, model.num_classes) == ("velocity", (1, 8, 8), 10)
    assert model.schedule == FlowMatching()
    assert (model.default_t_start, model.default_t_end) == (1.0 - 1e-3, 1e-3)
    card = json.loads((FOLDER.parent / "digits-flow" / "config.json").read_text())
    assert card["smoothness"]["orders"][-1] == pytest.approx(4.0, abs=0.1)
    assert card["agreement"]["samples_read_right"] > 0.95


def test_the_two_digits_models_draw_much_the_same_set() -> None:
    """Trained apart and on other processes, they learned one distribution: nearer to each other than to noise."""
    sets = [
        sample(load(name).conditioned(3), "dpmpp_2m", n=64, nfe=20, seed=k).flatten(1).numpy()
        for k, name in enumerate(("toy/digits", "toy/digits-flow"))
    ]
    noise = initial_noise(64, (64,), 2).clamp(-1.0, 1.0).numpy()
    assert sliced_wasserstein(*sets) < 0.3 * sliced_wasserstein(sets[0], noise)


EMOJI = FOLDER.parent / "emoji-32"


def test_emoji_is_in_diffusers_own_format() -> None:
    """diffusers reads network and scheduler by itself, and predicts what the loader predicts."""
    from diffusers import DDPMScheduler, UNet2DModel

    network = UNet2DModel.from_pretrained(EMOJI, subfolder="unet", low_cpu_mem_usage=False)
    scheduler = DDPMScheduler.from_pretrained(EMOJI, subfolder="scheduler")
    model = load("toy/emoji-32")
    assert (model.name, model.prediction, model.sample_shape, model.num_classes) == (
        "toy/emoji-32",
        "v",
        (3, 32, 32),
        6,
    )
    assert scheduler.config.prediction_type == "v_prediction"
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.float()(x, torch.tensor([321, 321]), class_labels=torch.tensor([0, 6])).sample
    given = model.conditioned([0, 1])(x[:1].expand(2, -1, -1, -1).contiguous(), 321.0)[:1]
    torch.testing.assert_close(given, expected[:1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.conditioned(None)(x, 321.0)[1:], expected[1:], rtol=1e-4, atol=1e-4)
    level = model.schedule.half_log_snr(321.0)
    share = float(scheduler.alphas_cumprod[321])
    assert float(level) == pytest.approx(0.5 * math.log(share / (1.0 - share)), rel=1e-5)


def test_emoji_weights_are_small_and_checked(tmp_path: Path) -> None:
    weights = EMOJI / "unet" / "diffusion_pytorch_model.safetensors"
    assert weights.stat().st_size <= 25e6
    shutil.copytree(EMOJI, tmp_path / "emoji", ignore=shutil.ignore_patterns("cache"))
    copy = tmp_path / "emoji" / "unet" / weights.name
    content = bytearray(copy.read_bytes())
    content[-5] ^= 1
    copy.write_bytes(content)
    with pytest.raises(ModelFileError, match="SHA-256"):
        load_toy(tmp_path / "emoji")


def test_emoji_time_acts_continuously_and_slowly() -> None:
    """The fast sinusoids of the timestep are cut off, so that a step of one does little."""
    model = load("toy/emoji-32", dtype="float64").conditioned(0)
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    near, far = (float((model(x, 500.0 + d) - model(x, 500.0)).norm()) for d in (1e-5, 1e-3))
    assert far / near == pytest.approx(100.0, rel=0.01)
    weight = dict(model.module.named_parameters())
    first = next(value for name, value in weight.items() if name.endswith("time_embedding.linear_1.weight"))
    half = first.shape[1] // 2
    assert float(first[:, :3].abs().max()) == float(first[:, half : half + 3].abs().max()) == 0.0


@pytest.mark.slow
def test_emoji_groups_differ() -> None:
    """Smileys are yellow and symbols are not: the label steers what is drawn."""
    model = load("toy/emoji-32")
    faces, symbols = (
        sample(model.conditioned(label), "dpmpp_2m", n=12, nfe=10, seed=1).clamp(-1.0, 1.0) for label in (0, 5)
    )

    def yellowness(x: torch.Tensor) -> float:
        return float((x[:, :2].mean(1) - x[:, 2])[:, 10:22, 10:22].mean())

    assert yellowness(faces) > 2.0 * abs(yellowness(symbols))
    assert float(faces[:, :, 0, 0].mean()) > 0.8  # on white


def test_emoji_card_says_what_it_was_made_of() -> None:
    record = json.loads((EMOJI / "diffnum.json").read_text())
    assert record["training"]["licence"] == "Apache-2.0"
    assert len(record["training"]["data_sha256"]) == 64
    card = (EMOJI / "README.md").read_text()
    assert record["training"]["data_sha256"] in card
    assert f"{record['neighbours']['copies']:.0%} of the samples" in card


def test_emoji_attention_that_was_softened_lets_order_four_be_seen() -> None:
    measured = json.loads((EMOJI / "diffnum.json").read_text())["smoothness"]
    assert measured["softened"]["orders"][-1] > 3.5 > measured["trained"]["orders"][-1]
    assert measured["softened"]["loss"] == pytest.approx(measured["trained"]["loss"], rel=2e-3)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"n": 0}, ValueError, "n=0: use a whole number, at least 1"),
        ({"n": 1.5}, TypeError, "n=1.5: use a whole number"),
        ({"batch": -1}, ValueError, "batch=-1"),
        ({"seed": -1}, ValueError, "seed=-1: use a whole number, at least 0"),
        ({"model": "toy/digits"}, TypeError, "model is a str: load it"),
    ],
)
def test_numbers_of_sample_are_checked(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    model = options.pop("model", None) or load("toy/digits")
    with pytest.raises(kind, match=message):
        sample(model, **options)
