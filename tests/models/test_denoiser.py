"""The wrapper of torch networks: what it computes, and what it refuses."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch

from diffnum.models import NetworkDenoiser
from diffnum.models.denoiser import resolve_device, resolve_dtype
from diffnum.schedules import VPLinear
from diffnum.types import Denoiser


class Recorder(torch.nn.Module):
    """Returns x scaled by the level, and keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.seen: tuple[torch.Tensor, ...] = ()

    def forward(self, *arguments: torch.Tensor) -> torch.Tensor:
        self.seen = arguments
        x, level = arguments[:2]
        return x * level[:, None, None, None] * self.scale.to(x.dtype)


def wrap(**changes: Any) -> NetworkDenoiser:
    settings: dict[str, Any] = {
        "module": Recorder(),
        "prediction": "noise",
        "schedule": VPLinear(),
        "sample_shape": (1, 4, 4),
        "value_range": (-1.0, 1.0),
        "name": "test/recorder",
        "dtype": torch.float64,
    }
    return NetworkDenoiser(**{**settings, **changes})


def seen(model: NetworkDenoiser) -> tuple[torch.Tensor, ...]:
    """Arguments of the last call of the module."""
    return cast(Recorder, model.module).seen


X = torch.ones(3, 1, 4, 4, dtype=torch.float64)


def test_is_a_denoiser() -> None:
    assert isinstance(wrap(), Denoiser)


@pytest.mark.parametrize("t", [0.5, np.float64(0.5), np.asarray(0.5), torch.tensor(0.5), torch.full((3,), 0.5)])
def test_every_form_of_time_means_the_same(t: Any) -> None:
    torch.testing.assert_close(wrap()(X, t), 0.5 * X, rtol=0, atol=0)


def test_each_sample_may_have_its_own_time() -> None:
    out = wrap()(X, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
    assert out[:, 0, 0, 0].tolist() == [0.1, 0.2, 0.3]


def test_time_is_not_rounded_to_an_index() -> None:
    model = wrap()
    model(X, 0.123456789)
    assert seen(model)[1].tolist() == [0.123456789] * 3


def test_half_log_snr_level_is_that_of_the_schedule() -> None:
    model = wrap(level="half_log_snr")
    model(X, 0.3)
    assert seen(model)[1][0].item() == VPLinear().half_log_snr(0.3)
    model(X, torch.full((3,), 0.3, dtype=torch.float64))
    assert seen(model)[1][0].item() == pytest.approx(VPLinear().half_log_snr(0.3), rel=1e-14)


def test_labels_are_bound_or_given_by_call_and_default_to_the_null_label() -> None:
    model = wrap(num_classes=10)
    model(X, 0.5)
    assert seen(model)[2].tolist() == [10, 10, 10]
    model.conditioned(4)(X, 0.5)
    assert seen(model)[2].tolist() == [4, 4, 4]
    model.conditioned([1, 2, 3])(X, 0.5)
    assert seen(model)[2].tolist() == [1, 2, 3]
    model.conditioned(4)(X, 0.5, label=torch.tensor([7, 8, 9]))
    assert seen(model)[2].tolist() == [7, 8, 9]
    model.conditioned(4).conditioned(None)(X, 0.5)
    assert seen(model)[2].tolist() == [10, 10, 10]


def test_autograd_is_off_unless_asked_for() -> None:
    x = X.clone().requires_grad_()
    assert not wrap()(x, 0.5).requires_grad
    (gradient,) = torch.autograd.grad(wrap().with_gradients()(x, 0.5).sum(), x)
    torch.testing.assert_close(gradient, 0.5 * X)
    with torch.no_grad():
        assert not wrap().with_gradients()(x, 0.5).requires_grad


@pytest.mark.parametrize(
    ("x", "t", "error", "match"),
    [
        (X.numpy(), 0.5, TypeError, r"x is a ndarray.*give a torch tensor"),
        (X[0], 0.5, ValueError, r"x has shape \(1, 4, 4\).*takes \(batch, 1, 4, 4\)"),
        (X[..., :3], 0.5, ValueError, r"takes \(batch, 1, 4, 4\)"),
        (X.float(), 0.5, TypeError, r"x has dtype torch.float32.*load the model with dtype=\"float32\""),
        (X.to("meta"), 0.5, ValueError, r"x is on meta and .* on cpu; move x"),
        (X, 1.5, ValueError, r"t=1.5 is not within \[0.0, 1.0\]"),
        (X, -0.1, ValueError, r"not within"),
        (X, float("nan"), ValueError, r"not within"),
        (X, torch.tensor([0.1, 0.2, 7.0]), ValueError, r"not within"),
        (X, torch.tensor([0.1, 0.2]), ValueError, r"t has shape \(2,\)"),
        (X, "0.5", TypeError, r"t is a str"),
        (X, True, TypeError, r"t is a bool"),
    ],
)
def test_refuses_what_it_cannot_evaluate(x: Any, t: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        wrap()(x, t)


@pytest.mark.parametrize("t", [0.0, torch.zeros(3)])
def test_an_infinite_half_log_snr_is_refused_where_the_network_needs_it(t: Any) -> None:
    wrap()(X, t)
    with pytest.raises(ValueError, match="half-log-SNR"):
        wrap(level="half_log_snr")(X, t)


@pytest.mark.parametrize(
    ("label", "error", "match"),
    [
        (10, ValueError, r"label=10 is not in 0..9; use None"),
        (-1, ValueError, r"label=-1"),
        ([1.5, 2.0, 3.0], TypeError, r"give integers"),
        ("seven", TypeError, r"label='seven' is no integer"),
        ([[1, 2, 3]], ValueError, r"label has shape"),
    ],
)
def test_refuses_impossible_labels(label: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        wrap(num_classes=10).conditioned(label)


def test_refuses_labels_without_classes_and_of_another_batch() -> None:
    with pytest.raises(ValueError, match="has no labels"):
        wrap().conditioned(3)
    with pytest.raises(ValueError, match="has no labels"):
        wrap()(X, 0.5, label=3)
    with pytest.raises(ValueError, match="2 labels for a batch of 3"):
        wrap(num_classes=10).conditioned([1, 2])(X, 0.5)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"prediction": "epsilon"}, "prediction='epsilon' is unknown; use one of data, noise"),
        ({"level": "index"}, "level='index' is unknown"),
        ({"value_range": (1.0, 1.0)}, "low < high"),
    ],
)
def test_refuses_malformed_fields(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        wrap(**changes)


def test_dtypes_and_devices_go_by_name() -> None:
    assert resolve_dtype("float64") is resolve_dtype(torch.float64) is torch.float64
    for wrong in ("double", "int64", torch.int64, 64):
        with pytest.raises(ValueError, match="use one of float64"):
            resolve_dtype(wrong)  # type: ignore[arg-type]
    assert resolve_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="device='abacus' cannot be used here"):
        resolve_device("abacus")


def test_images_are_stretched_over_the_range_or_each_by_itself() -> None:
    model = wrap()
    x = (
        torch.linspace(-1.0, 1.0, 16, dtype=torch.float64).reshape(1, 1, 4, 4)
        * torch.tensor([1.0, 0.5, 4.0])[:, None, None, None]
    )
    shown = model.to_image(x)
    assert shown.shape == (3, 4, 4)
    assert shown.dtype == np.float32
    assert [float(i.max()) for i in shown] == [1.0, 0.75, 1.0]
    assert [float(i.max() - i.min()) for i in model.to_image(x, stretch="each")] == [1.0, 1.0, 1.0]
    assert np.isfinite(model.to_image(torch.zeros(2, 3, 4, 4), stretch="each")).all()
    assert model.to_image(torch.zeros(2, 3, 4, 4)).shape == (2, 4, 4, 3)
    with pytest.raises(ValueError, match="give \\(batch, channels, height, width\\)"):
        model.to_image(x[0])
    with pytest.raises(ValueError, match="stretch='log' is unknown"):
        model.to_image(x, stretch="log")  # type: ignore[arg-type]
