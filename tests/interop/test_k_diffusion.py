"""Functions in the style of k-diffusion: every method, its own functions where the method is the same, and flows."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

import diffnum as dn
from diffnum.audits import k_diffusion_samplers
from diffnum.interop import k_diffusion

MIX = torch.linspace(-0.4, 0.5, 9, dtype=torch.float64).reshape(3, 3)
X = 10.0 * torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
SIGMAS = torch.tensor([10.0, 6.0, 3.0, 1.4, 0.7, 0.2, 0.0], dtype=torch.float64)


def model(x: Any, sigma: Any, weight: float = 1.0) -> Any:
    """A denoiser: towards zero where the noise is large."""
    assert sigma.shape == (x.shape[0],)
    s = sigma.reshape(-1, 1, 1, 1)
    return weight * torch.einsum("ij,bjhw->bihw", MIX.to(x.dtype), x / (1 + s)).tanh() + x / (1 + s**2)


@pytest.mark.parametrize("name", tuple(dn.methods("all")))
def test_every_method_has_a_function_that_solves_its_plan(name: str) -> None:
    sample = getattr(k_diffusion, "sample_" + name.replace(".", "_"))
    assert sample.__name__ in dir(k_diffusion)
    torch.manual_seed(0)
    found = sample(model, X, SIGMAS, disable=True)
    assert bool(torch.isfinite(found).all())

    class Denoiser:
        prediction, schedule = "data", dn.schedules.EDM(0.2, 20.0)

        def __call__(self, x: Any, t: float) -> Any:
            return model(x, torch.full((len(x),), t, dtype=x.dtype))

    grid = dn.grids.from_times(Denoiser.schedule, SIGMAS.numpy())
    numbers = dn.plan(name, Denoiser.schedule, grid)
    torch.manual_seed(0)
    expected = dn.solve(numbers, Denoiser(), X, noise=lambda i, j, like: torch.randn_like(like))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def shared_noise(seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return lambda *_: torch.randn(X.shape, dtype=X.dtype, generator=generator)


SAME = (
    ("euler", {}, {}),
    ("heun", {}, {}),
    ("dpm_2", {}, {}),
    ("lms", {}, {}),
    ("lms_3", {"order": 3}, {}),
    ("dpmpp_2m", {}, {}),
    ("dpmpp_2s", {"eta": 0.0}, {"theirs": "dpmpp_2s_ancestral"}),
    ("euler_ancestral", {}, {"noise": True}),
    ("dpmpp_2m_sde", {}, {"noise": True}),
    ("sde_dpmpp_2m_heun", {"solver_type": "heun"}, {"theirs": "dpmpp_2m_sde", "noise": True}),
    ("dpmpp_3m_sde", {}, {"noise": True}),
)


@pytest.mark.parametrize(("name", "options", "how"), SAME, ids=[name for name, *_ in SAME])
def test_the_functions_of_k_diffusion_give_the_same(name: str, options: Any, how: Any) -> None:
    theirs = k_diffusion_samplers()["sample_" + how.get("theirs", name.removesuffix("_3"))]
    ours = getattr(k_diffusion, "sample_" + name)
    noise = [{"noise_sampler": shared_noise(5)} if how.get("noise") else {} for _ in range(2)]
    expected = theirs(model, X, SIGMAS, disable=True, **options, **noise[0])
    tolerance = 1e-4 if "lms" in name else 1e-10  # their quadrature has a tolerance of 1e-4
    torch.testing.assert_close(
        ours(model, X, SIGMAS, disable=True, **noise[1]), expected, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m"])
def test_the_callback_is_told_what_k_diffusion_tells(name: str) -> None:
    def told(sample: Any) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        sample(model, X, SIGMAS, extra_args={"weight": 0.5}, callback=seen.append, disable=True)
        return seen

    ours, theirs = (told(s) for s in (getattr(k_diffusion, f"sample_{name}"), k_diffusion_samplers()[f"sample_{name}"]))
    assert len(ours) == len(theirs) == len(SIGMAS) - 1
    for mine, other in zip(ours, theirs, strict=True):
        assert set(mine) == set(other)
        for key, value in other.items():
            torch.testing.assert_close(torch.as_tensor(mine[key]), torch.as_tensor(value))


@pytest.mark.parametrize("name", ["unipc_3", "dpmpp_3s", "dpm_solver_3", "edm_heun_churn"])
def test_the_callback_counts_the_nodes_of_every_kind_of_method(name: str) -> None:
    seen: list[int] = []
    getattr(k_diffusion, f"sample_{name}")(model, X, SIGMAS, callback=lambda d: seen.append(d["i"]), disable=True)
    assert seen == list(range(len(SIGMAS) - 1))


def test_noise_is_asked_for_between_the_levels_where_it_is_added() -> None:
    asked: list[tuple[float, float]] = []

    def noise(begin: Any, end: Any) -> Any:
        asked.append((float(begin), float(end)))
        return torch.zeros_like(X)

    k_diffusion.sample_sde_dpmpp_2m(model, X, SIGMAS, noise_sampler=noise, disable=True)
    levels = SIGMAS.tolist()
    np.testing.assert_allclose(asked, list(zip(levels[:-2], levels[1:-1], strict=True)), rtol=1e-9)


def test_half_of_the_noise_is_half_of_the_noise() -> None:
    def end(scale: float) -> Any:
        return k_diffusion.sample_ddpm(
            lambda x, sigma: torch.zeros_like(x),
            X,
            SIGMAS[:3],
            s_noise=scale,
            noise_sampler=shared_noise(3),
            disable=True,
        )

    torch.testing.assert_close(end(1.0) - end(0.0), 2.0 * (end(0.5) - end(0.0)))


# -- flows ---------------------------------------------------------------------------------------------

TIMES = torch.tensor([1.0, 0.9, 0.7, 0.4, 0.1, 0.0], dtype=torch.float64)


class CONST:
    """The mark of a flow in ComfyUI."""


class Wrapped:
    """A model as ComfyUI hands it to samplers."""

    def __init__(self, kind: type) -> None:
        self.inner_model = type("Inner", (), {"model_sampling": type("Sampling", (kind,), {})()})()

    def __call__(self, x: Any, sigma: Any) -> Any:
        return 0.3 * torch.tanh(x) + sigma.reshape(-1, 1, 1, 1)


def test_a_flow_is_seen_from_the_model_and_euler_is_euler() -> None:
    x = X / 10
    for name in ("euler", "flow_euler", "ab_velocity_1"):
        found = getattr(k_diffusion, f"sample_{name}")(Wrapped(CONST), x, TIMES, disable=True)
        expected = k_diffusion_samplers()["sample_euler"](Wrapped(CONST), x, TIMES, disable=True)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # one law, if the denoised sample is one
    plain = k_diffusion.sample_dpmpp_2m(Wrapped(object), x, TIMES, disable=True)
    as_flow = k_diffusion.sample_dpmpp_2m(Wrapped(object), x, TIMES, flow=True, disable=True)
    assert not torch.allclose(plain, as_flow, atol=1e-3)
    torch.testing.assert_close(as_flow, k_diffusion.sample_dpmpp_2m(Wrapped(CONST), x, TIMES, disable=True))


def test_the_first_call_of_a_flow_is_told_exactly_its_level() -> None:
    told: list[float] = []

    def watched(x: Any, sigma: Any) -> Any:
        told.append(float(sigma[0]))
        return torch.zeros_like(x)

    k_diffusion.sample_unipc_3(watched, X, TIMES, flow=True, disable=True)
    np.testing.assert_allclose(told, TIMES[:-1], rtol=1e-12)
    assert told[0] == 1.0


# -- names and refusals --------------------------------------------------------------------------------


def test_any_name_that_the_catalogue_knows_is_there_and_others_name_their_nearest() -> None:
    assert k_diffusion.sample_eab_7(model, X, SIGMAS, disable=True).shape == X.shape
    assert getattr(k_diffusion, "sample_ghvb_2.3").__name__ == "sample_ghvb_2_3"
    assert "ghvb_2.8" in k_diffusion.sample_ghvb_2_8.__doc__
    with pytest.raises(AttributeError, match="did you mean sample_unipc"):
        k_diffusion.sample_unipcc
    with pytest.raises(AttributeError, match="samplers are called sample_NAME"):
        k_diffusion.unipc


@pytest.mark.parametrize(
    ("sigmas", "flow", "message"),
    [
        (torch.tensor([1.0, 2.0]), False, "decrease strictly"),
        (torch.tensor([1.0, float("nan")]), False, "must be finite"),
        ([3.0, 1.0], False, "pass a tensor"),
        (torch.tensor([2.0, 1.0]), True, "at most 1"),
    ],
)
def test_noise_levels_that_are_none_are_refused(sigmas: Any, flow: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        k_diffusion.sample_dpmpp_2m(model, X, sigmas, flow=flow, disable=True)


def test_a_result_that_is_not_finite_and_a_state_that_is_no_tensor_are_refused() -> None:
    levels = torch.tensor([10.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="sample_dpmpp_2m: the result is not finite"):
        k_diffusion.sample_dpmpp_2m(lambda x, sigma: x * float("nan"), X, levels, disable=True)
    with pytest.raises(TypeError, match="x is a ndarray: pass a torch tensor"):
        k_diffusion.sample_dpmpp_2m(model, X.numpy(), levels, disable=True)


# -- half precision, pickles ---------------------------------------------------------------------------

CLOSE = torch.tensor([10.9, 10.85, 10.8, 5.0, 1.0, 0.1, 0.0])
FLOW_17 = 17.0 * torch.linspace(1, 0, 51) / (1.0 + 16.0 * torch.linspace(1, 0, 51))
STOCHASTIC = tuple(name for name in dn.methods("stochastic") if not name.endswith("churn"))


class Tree:
    """A source of noise that is as strict as k-diffusion's tree, and remembers what it was asked."""

    def __init__(self, x: Any, low: Any, high: Any) -> None:
        self.x, self.low, self.high = x, low, high
        self.asked: list[tuple[Any, Any]] = []

    def __call__(self, begin: Any, end: Any) -> Any:
        self.asked.append((begin, end))
        assert begin.dtype == end.dtype == self.low.dtype
        assert self.low <= min(begin, end) < max(begin, end) <= self.high
        length = (begin - end).abs().sqrt()
        return length.to(self.x.dtype) / length.to(self.x.dtype) * torch.ones_like(self.x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize("flow", [False, True], ids=["levels", "flow"])
def test_a_tree_is_asked_for_the_levels_as_given_whatever_the_dtype_of_x(name: str, dtype: Any, flow: bool) -> None:
    unbounded = dn.method(name).form.prediction == "noise"  # at pure noise, in any precision
    sigmas = (FLOW_17[2:] if unbounded else FLOW_17) if flow else CLOSE
    x = (float(sigmas[0]) * X).to(dtype)
    tree = Tree(x, sigmas[:-1].min(), sigmas.max())
    sample = getattr(k_diffusion, "sample_" + name.replace(".", "_").replace("-", "_"))
    found = sample(lambda x, sigma: 0.5 * x / (1 + sigma.reshape(-1, 1, 1, 1)), x, sigmas, noise_sampler=tree,
                   flow=flow, disable=True)  # fmt: skip
    assert found.dtype == dtype
    assert bool(torch.isfinite(found).all())
    given = set(sigmas.tolist())
    assert {float(begin) for begin, _ in tree.asked} & given
    assert tree.asked[0][0] == sigmas[0]  # to the bit, also at pure noise


def test_rounding_the_levels_to_the_dtype_of_x_would_ask_for_an_empty_interval() -> None:
    """The control of the test above."""
    assert CLOSE.bfloat16()[0] == CLOSE.bfloat16()[1]
    assert FLOW_17.bfloat16()[0] == FLOW_17.bfloat16()[1]


def test_k_diffusion_s_own_tree_runs_in_half_precision() -> None:
    sampling = pytest.importorskip("k_diffusion.sampling", exc_type=ImportError)
    pytest.importorskip("torchsde")
    x = (10.9 * X).bfloat16()
    tree = sampling.BrownianTreeNoiseSampler(x, CLOSE[:-1].min(), CLOSE.max())
    assert bool(torch.isfinite(k_diffusion.sample_euler_ancestral(model, x, CLOSE, noise_sampler=tree)).all())


@pytest.mark.parametrize("name", ["unipc_3", "euler", "dpmpp_2m_sde", "ghvb_2.8", "ghvb_2_8"])
def test_a_function_pickles_and_has_one_object_whatever_it_is_called(name: str) -> None:
    sample = k_diffusion.sampler(name) if "." in name else getattr(k_diffusion, f"sample_{name}")
    assert pickle.loads(pickle.dumps(sample)) is sample
