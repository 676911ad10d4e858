"""Galaxy score networks: found without import, checked byte by byte, and evaluated like the originals."""

from __future__ import annotations

import io
import math
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffnum.models import MissingModelError, ModelFileError, NetworkDenoiser, load, model_ids
from diffnum.models.loading.files import find_bytes
from diffnum.models.loading.galaxies import FETCH_COMMAND, ScoreMixer, galaxy_names, load_galaxy

FILE = "eqx_hsc_ScoreNet32.eqx"
HERE = find_bytes("galaxygrad", FILE)

wheel = [
    pytest.mark.network_models,
    pytest.mark.skipif(HERE is None, reason=f"the galaxygrad wheel is absent; fetch it with `{FETCH_COMMAND}`"),
]


def needs_wheel(test: Any) -> Any:
    for mark in wheel:
        test = mark(test)
    return test


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Hide the installed package and the cache; DIFFNUM_MODELS is an empty folder."""
    monkeypatch.setattr("diffnum.models.loading.files.importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    models = tmp_path / "models"
    models.mkdir()
    monkeypatch.setenv("DIFFNUM_MODELS", str(models))
    return models


def random_states(model: NetworkDenoiser, n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((n, *model.sample_shape), generator=generator, dtype=torch.float64).to(model.dtype)


def test_nine_networks_are_known() -> None:
    assert sum(i.startswith("galaxies/") for i in model_ids()) == len(galaxy_names()) == 9


def test_absent_weights_name_the_one_command_that_fetches_them(nowhere: Path) -> None:
    with pytest.raises(MissingModelError, match=r"pip install --no-deps galaxygrad==0\.2\.1") as caught:
        load("galaxies/hsc-32")
    assert isinstance(caught.value, FileNotFoundError)


def test_a_file_of_another_content_is_refused_before_it_is_parsed(nowhere: Path) -> None:
    (nowhere / FILE).write_bytes(b"something else")
    with pytest.raises(ModelFileError, match="SHA-256"):
        load("galaxies/hsc-32")


def test_a_broken_wheel_is_refused(nowhere: Path) -> None:
    (nowhere / "galaxygrad-0.2.1-py3-none-any.whl").write_bytes(b"not a zip archive")
    with pytest.raises(ModelFileError, match="not a readable wheel"):
        load("galaxies/hsc-32")


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="galaxy network 'hsc-33' is unknown"):
        load_galaxy("hsc-33")


def test_the_mixer_takes_multiples_of_its_patch() -> None:
    with pytest.raises(ValueError, match="size=30 is not a multiple"):
        ScoreMixer(30)


@needs_wheel
def test_one_flipped_bit_is_refused(nowhere: Path) -> None:
    assert HERE is not None
    content = bytearray(HERE[0])
    (nowhere / FILE).write_bytes(content)
    load("galaxies/hsc-32")
    content[len(content) // 2] ^= 1
    (nowhere / FILE).write_bytes(content)
    with pytest.raises(ModelFileError, match=r"SHA-256.*fetch it again"):
        load("galaxies/hsc-32")


@needs_wheel
@pytest.mark.parametrize("as_file", [True, False])
def test_weights_are_read_from_a_wheel(nowhere: Path, monkeypatch: pytest.MonkeyPatch, as_file: bool) -> None:
    assert HERE is not None
    path = nowhere / "galaxygrad-0.2.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"galaxygrad/{FILE}", HERE[0])
    if as_file:
        monkeypatch.setenv("DIFFNUM_MODELS", str(path))
    assert load("galaxies/hsc-32").sample_shape == (1, 32, 32)
    with pytest.raises(MissingModelError):
        load("galaxies/hsc-64")


@needs_wheel
def test_the_package_is_located_and_not_imported() -> None:
    load("galaxies/hsc-32")
    assert "galaxygrad" not in sys.modules


@needs_wheel
@pytest.mark.parametrize("name", galaxy_names())
def test_every_network_loads_and_denoises(name: str) -> None:
    """Noise is predicted better than by zero, and better at the right time than at a wrong one."""
    model = load(f"galaxies/{name}")
    side = int(name.rsplit("-", 1)[1])
    assert model.sample_shape == (1, side, side)
    assert (model.prediction, model.default_t_start, model.default_t_end) == ("score", 10.0, 1e-3)
    assert model.schedule.half_log_snr(math.log(2.0)) == pytest.approx(0.0, abs=1e-15)
    # A flat background stands in for data: no sample is shipped.
    low = model.value_range[0] if "lsst" not in name else 6.93
    low = 6.75 if "roman" in name else low
    t = 1.0
    alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)
    noise = random_states(model, 2)
    x = alpha * low + sigma * noise
    residual = [float((-sigma * model(x, s) - noise).square().mean()) for s in (0.5, t, 2.0)]
    assert residual[1] < 0.2
    assert residual[1] == min(residual)


@needs_wheel
def test_precisions_agree() -> None:
    coarse, fine = load("galaxies/hsc-32"), load("galaxies/hsc-32", dtype="float64")
    x = random_states(fine, 3)
    for t in (1e-3, 0.1, 10.0):
        torch.testing.assert_close(coarse(x.float(), t).double(), fine(x, t), rtol=1e-4, atol=1e-4)


@needs_wheel
def test_a_sample_does_not_depend_on_its_batch() -> None:
    model = load("galaxies/hsc-32", dtype="float64")
    x = random_states(model, 5)
    torch.testing.assert_close(model(x, 0.3)[2:3], model(x[2:3], 0.3), rtol=0, atol=1e-11)


@needs_wheel
def test_time_acts_continuously() -> None:
    model = load("galaxies/hsc-32", dtype="float64")
    x = random_states(model, 1)
    near, far = (float((model(x, 0.3 + d) - model(x, 0.3)).norm()) for d in (1e-6, 1e-4))
    assert far / near == pytest.approx(100.0, rel=0.05)


@needs_wheel
def test_the_output_patches_are_not_mirrored() -> None:
    """The last layer agrees with a transposed convolution that is written out.

    The stored kernel is that of a correlation over the input dilated by the stride: pixel (4i + a, 4j + b)
    takes the entry (3 - a, 3 - b). Without the flip, every 4x4 patch would come out mirrored.
    """
    assert HERE is not None
    model = load("galaxies/hsc-32", dtype="float64")
    module = model.module
    assert isinstance(module, ScoreMixer)
    stream = io.BytesIO(HERE[0])
    stored = [np.load(stream, allow_pickle=False) for _ in range(4)][2].astype(np.float64)
    y = np.random.default_rng(0).normal(size=(64, 8, 8))
    padded = np.zeros((64, 8 * 4 + 2 * 3, 8 * 4 + 2 * 3))[:, : 4 * 7 + 1 + 6, : 4 * 7 + 1 + 6]
    padded[:, 3 : 3 + 4 * 7 + 1 : 4, 3 : 3 + 4 * 7 + 1 : 4] = y
    windows = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), axis=(1, 2))
    expected = np.einsum("cijab,cab->ij", windows, stored[0])
    with torch.no_grad():
        bias = module.exit(torch.zeros(1, 64, 1, 1, dtype=torch.float64))[0, 0, 0, 0].item()
        out = module.exit(torch.from_numpy(y)[None])[0, 0].numpy() - bias
    np.testing.assert_allclose(out, expected, atol=1e-10)


@needs_wheel
@pytest.mark.slow
def test_samples_are_sources_on_a_dark_background() -> None:
    """Heun's method in the clock sigma/alpha, forty steps: the border is background, the centre is bright."""
    model = load("galaxies/hsc-32")
    low, high = (float(model.schedule.half_log_snr(t)) for t in (model.default_t_start, model.default_t_end))
    rho = [math.exp(-(low + (high - low) * i / 40)) for i in range(41)]
    alpha = [1.0 / math.hypot(1.0, r) for r in rho]

    def noise(z: torch.Tensor, i: int) -> torch.Tensor:
        t = min(10.0, float(model.schedule.time(-math.log(rho[i]))))
        return -alpha[i] * rho[i] * model(alpha[i] * z, t)

    z = random_states(model, 4) / alpha[0]
    for i in range(40):
        first = noise(z, i)
        z = z + 0.5 * (rho[i + 1] - rho[i]) * (first + noise(z + (rho[i + 1] - rho[i]) * first, i + 1))
    x = alpha[-1] * z
    assert bool(torch.isfinite(x).all())
    border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., 0], x[..., -1]], dim=-1)
    assert float(border.abs().mean()) < 0.2
    assert bool((x[..., 12:20, 12:20].amax(dim=(1, 2, 3)) > 1.0).all())
