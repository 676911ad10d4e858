"""EDM checkpoints: NVlabs' own networks are rebuilt from their parameters, preconditioned, and refused where unsafe."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import diffnum as dn
from diffnum.models import MissingModelError, ModelFileError
from diffnum.models.loading.edm import PRECONDITIONINGS, Preconditioned
from diffnum.models.loading.edm_networks import EDMNetwork
from tests.models.edm_parameters import drawn, inputs

GOLDEN = json.loads(gzip.decompress((Path(__file__).parents[2] / "data/edm_networks.json.gz").read_bytes()))["networks"]
"""Outputs of the official networks (NVlabs/edm at 008a4e5) with parameters that :func:`drawn` makes."""


def state_of(name: str) -> dict[str, torch.Tensor]:
    record = GOLDEN[name]
    state = {key: drawn(key, tuple(shape)) for key, shape in record["shapes"].items()}
    return state | {key: torch.tensor(value) for key, value in record["buffers"].items()}


def one_hot(labels: list[int] | None) -> torch.Tensor | None:
    return None if labels is None else torch.nn.functional.one_hot(torch.tensor(labels), 5).float()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """File of the DDPM++ network, with the prefix of the preconditioned module."""
    path = tmp_path / "network.safetensors"
    save_file({f"model.{key}": value for key, value in state_of("ddpm++").items()}, path)
    return path


@pytest.mark.parametrize("name", list(GOLDEN))
def test_networks_give_what_the_official_code_gave(name: str) -> None:
    record, (x, level) = GOLDEN[name], inputs(3, 8)
    with torch.no_grad():
        got = EDMNetwork(state_of(name))(x, level, one_hot(record["labels"]))
    expected = torch.tensor(record["output"]).reshape(x.shape)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", list(GOLDEN))
def test_the_order_of_the_entries_does_not_matter(name: str) -> None:
    state, (x, level) = state_of(name), inputs(3, 8)
    shuffled = {key: state[key] for key in sorted(state, key=lambda key: hashlib.sha256(key.encode()).hexdigest())}
    torch.testing.assert_close(EDMNetwork(shuffled)(x, level), EDMNetwork(state)(x, level), rtol=0, atol=0)


def test_a_checkpoint_is_a_denoiser_of_the_data(checkpoint: Path) -> None:
    model = dn.load(f"edm:{checkpoint}", null_label=True, sigma_data=0.5)
    assert (model.prediction, model.schedule, model.sample_shape) == ("data", dn.schedules.EDM(), (3, 8, 8))
    assert (model.num_classes, model.unconditional) == (5, True)
    x, sigma = 3.0 * inputs(3, 8)[0], torch.tensor(2.0)
    total = sigma**2 + 0.25
    network = EDMNetwork(state_of("ddpm++"))
    inner = network(x / total.sqrt(), sigma.log().expand(2) / 4, one_hot([1, 4]))
    expected = 0.25 / total * x + sigma * 0.5 / total.sqrt() * inner
    torch.testing.assert_close(model.conditioned([1, 4])(x, 2.0), expected.detach(), rtol=1e-5, atol=1e-5)
    free = network(x / total.sqrt(), sigma.log().expand(2) / 4)
    torch.testing.assert_close(
        model(x, 2.0), (0.25 / total * x + sigma * 0.5 / total.sqrt() * free).detach(), rtol=1e-5, atol=1e-5
    )
    images = dn.sample(model.conditioned(2), "edm_heun", 3, n=2, grid="karras")
    assert torch.isfinite(images).all()


def test_double_precision_is_double_throughout(checkpoint: Path) -> None:
    model = dn.load(f"edm:{checkpoint}", dtype="float64").conditioned(1)
    x = inputs(3, 8)[0].double()
    step = 1e-6
    fine, coarse = ((model(x, 2.0 + h) - model(x, 2.0 - h)) / (2 * h) for h in (step, 1e-3))
    torch.testing.assert_close(fine, coarse, rtol=1e-4, atol=1e-6)


def test_a_network_without_a_null_label_says_so(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="trained without a null label"):
        dn.load(f"edm:{checkpoint}")(inputs(3, 8)[0], 1.0)


@pytest.mark.parametrize("kind", list(PRECONDITIONINGS))
def test_preconditioning_makes_the_exact_model_of_the_exact_network(kind: str) -> None:
    """Undo the preconditioning of an exact denoiser, and apply it again."""
    edm = dn.schedules.EDM()
    exact = dn.GaussianMixture([0.5, 0.5], [[1.0], [-1.0]], [0.05, 0.1]).denoiser(edm)
    x, sigma = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None], torch.full((7,), 0.8, dtype=torch.float64)
    skip, out, entry, noise = PRECONDITIONINGS[kind](sigma[:, None], 0.5)

    class Inner(torch.nn.Module):
        def forward(self, scaled: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            torch.testing.assert_close(level, noise.flatten())
            return (exact(scaled / entry, sigma) - skip * scaled / entry) / out

    torch.testing.assert_close(Preconditioned(Inner(), kind)(x, sigma), exact(x, sigma))


def test_preconditioning_scales_input_and_target_to_one() -> None:
    """Karras et al., appendix B.6: what the network sees, and what it must give, has unit variance."""
    data = 0.7
    sigma = torch.logspace(-2, 2, 9)
    skip, out, entry, _ = PRECONDITIONINGS["edm"](sigma, data)
    torch.testing.assert_close(entry**2 * (sigma**2 + data**2), torch.ones(9))
    target = ((1 - skip) ** 2 * data**2 + skip**2 * sigma**2) / out**2
    torch.testing.assert_close(target, torch.ones(9))


# -- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [None, "ema", "state_dict"])
def test_torch_state_dicts_are_read_without_unpickling_objects(tmp_path: Path, wrapped: str | None) -> None:
    state = state_of("skips")
    torch.save(state if wrapped is None else {wrapped: state}, tmp_path / "network.pt")
    model = dn.load(f"edm:{tmp_path / 'network.pt'}")
    assert model.num_classes is None
    assert model(inputs(3, 8)[0], 1.0).shape == (2, 3, 8, 8)


class Trap:
    """Unpickling it runs a program."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("suffix", ["pkl", "pt", "bin"])
def test_pickles_are_refused_with_the_reason_and_nothing_in_them_runs(tmp_path: Path, suffix: str) -> None:
    path, mark = tmp_path / f"network.{suffix}", tmp_path / "sprung"
    path.write_bytes(pickle.dumps({"ema": Trap(mark)}))
    with pytest.raises(ModelFileError, match=r"reading it runs whatever program is in it.*trust_pickle=True"):
        dn.load(f"edm:{path}")
    assert not mark.exists()


def test_trusted_pickles_are_read(tmp_path: Path) -> None:
    (tmp_path / "network.pkl").write_bytes(pickle.dumps({"ema": EDMNetwork(state_of("skips"))}))
    model = dn.load(f"edm:{tmp_path / 'network.pkl'}", trust_pickle=True)
    assert model.sample_shape == (3, 8, 8)
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"ema": 3}))
    with pytest.raises(ModelFileError, match="holds a int, not a network"):
        dn.load(f"edm:{tmp_path / 'other.pkl'}", trust_pickle=True)


def test_corrupt_missing_or_foreign_files_are_named(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(MissingModelError, match="is no file"):
        dn.load("edm:/no/such/file.safetensors")
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    dn.load(f"edm:{checkpoint}", sha256=digest)
    with pytest.raises(ModelFileError, match="SHA-256 is"):
        dn.load(f"edm:{checkpoint}", sha256="0" * 64)
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(ModelFileError, match="not readable as safetensors"):
        dn.load(f"edm:{checkpoint}")
    (tmp_path / "torn.pt").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ModelFileError, match="fetch it again"):
        dn.load(f"edm:{tmp_path / 'torn.pt'}")
    save_file({"weight": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelFileError, match="not the parameters of an EDM network"):
        dn.load(f"edm:{tmp_path / 'foreign.safetensors'}")
    state = state_of("skips")
    save_file({**state, "dec.8x8_block0.stray": torch.ones(1)}, tmp_path / "stray.safetensors")
    with pytest.raises(ModelFileError, match="stray"):
        dn.load(f"edm:{tmp_path / 'stray.safetensors'}")


class Own(torch.nn.Module):
    """An architecture of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(1, 1, 1)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
        return self.layer(x)


def test_own_architectures_are_made_by_a_factory(tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_file(Own().state_dict(), path)
    model = dn.load(f"edm:{path}", factory=Own, sample_shape=(1, 4, 4), preconditioning="ve")
    assert (model.default_t_end, model.default_t_start) == (0.02, 100.0)
    assert model(torch.ones(2, 1, 4, 4), 1.0).shape == (2, 1, 4, 4)
    with pytest.raises(ValueError, match="sample_shape=None"):
        dn.load(f"edm:{path}", factory=Own)
    with pytest.raises(ModelFileError, match="not the parameters of Linear"):
        dn.load(f"edm:{path}", factory=lambda: torch.nn.Linear(2, 2), sample_shape=(1, 4, 4))
    with pytest.raises(ValueError, match="preconditioning='magic'"):
        dn.load(f"edm:{path}", factory=Own, sample_shape=(1, 4, 4), preconditioning="magic")
    with pytest.raises(ValueError, match="sigma_data=0"):
        dn.load(f"edm:{path}", factory=Own, sample_shape=(1, 4, 4), sigma_data=0.0)
