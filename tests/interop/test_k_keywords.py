"""Keywords of k-diffusion's functions give what k-diffusion gives; what is not understood is refused."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

pytest.importorskip("torch")
import torch

import diffnum as dn
from diffnum.audits import k_diffusion_samplers
from diffnum.interop import k_diffusion
from diffnum.interop.k_keywords import KEYWORDS
from tests.interop.test_k_diffusion import CONST, SIGMAS, TIMES, Wrapped, X, model, shared_noise

CHURN = {"s_churn": 2.0, "s_tmin": 0.3, "s_tmax": 5.0, "s_noise": 1.003}
CASES: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("euler", CHURN, False),
    ("heun", CHURN, False),
    ("dpm_2", CHURN, False),
    ("euler", {"s_churn": 0.0}, False),
    ("euler", {"s_churn": 50.0}, False),
    ("euler_ancestral", {"eta": 0.4}, True),
    ("euler_ancestral", {"eta": 0.0}, True),
    ("euler_ancestral", {"eta": 0.6, "s_noise": 0.9}, True),
    ("dpm_2_ancestral", {"eta": 0.4}, True),
    ("dpmpp_2s_ancestral", {"eta": 0.4}, True),
    ("dpmpp_2m_sde", {"eta": 0.5}, True),
    ("dpmpp_2m_sde", {"eta": 0.0}, True),
    ("dpmpp_2m_sde", {"eta": 0.5, "solver_type": "heun"}, True),
    ("dpmpp_2m_sde", {"solver_type": "midpoint"}, True),
    ("dpmpp_3m_sde", {"eta": 0.3}, True),
    ("lms", {"order": 2}, False),
)


@pytest.mark.parametrize(("name", "options", "noisy"), CASES, ids=[f"{n}-{o}" for n, o, _ in CASES])
def test_keywords_mean_what_they_mean_in_k_diffusion(name: str, options: Any, noisy: bool) -> None:
    def run(sample: Any) -> Any:
        torch.manual_seed(3)
        return sample(
            model, X, SIGMAS, disable=True, **({"noise_sampler": shared_noise(5)} if noisy else {}), **options
        )

    theirs, ours = run(k_diffusion_samplers()[f"sample_{name}"]), run(getattr(k_diffusion, f"sample_{name}"))
    tolerance = 1e-4 if name == "lms" else 1e-9
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("eta", [0.7, 1.0])
def test_dpmpp_sde_takes_eta_on_one_brownian_path(eta: float) -> None:
    functions = k_diffusion_samplers()
    tree_of = inspect.unwrap(functions["sample_dpmpp_sde"]).__globals__["BrownianTreeNoiseSampler"]

    def run(sample: Any) -> Any:
        tree = tree_of(X, 0.19, 10.1, seed=4)  # its two draws a step overlap
        return sample(model, X, SIGMAS, disable=True, noise_sampler=tree, eta=eta, r=0.5)

    theirs, ours = run(functions["sample_dpmpp_sde"]), run(k_diffusion.sample_dpmpp_sde)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(KEYWORDS))
def test_listed_keywords_are_those_of_the_function_with_that_record(name: str) -> None:
    functions = k_diffusion_samplers()
    called = [f for f in functions if f.removeprefix("sample_") in dn.coefficients.catalogue.aliases() or True]
    taken = {key for f in called for key in inspect.signature(functions[f]).parameters}
    assert set(KEYWORDS[name].names) <= taken


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (
            "dpmpp_2m",
            {"eta": 1.0},
            r"sample_dpmpp_2m got the keyword eta=1.0.*none of its own; eta belongs to sample_ddpm",
        ),
        (
            "euler_ancestral",
            {"s_churn": 1.0},
            r"\(sample_euler_ancestral\) got the keyword s_churn.*takes eta; s_churn",
        ),
        ("euler", {"eta": 1.0}, "takes s_churn, s_tmin, s_tmax"),
        ("unipc_3", {"solver": "x"}, "solver='x'"),
    ],
)
def test_keywords_that_are_not_understood_are_refused_by_the_name_of_the_function(
    name: str, options: Any, words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        getattr(k_diffusion, f"sample_{name}")(model, X, SIGMAS, disable=True, **options)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("euler_ancestral", {"eta": 1.5}, r"eta=1.5: use a number from 0 to 1"),
        ("euler_ancestral", {"eta": -0.1}, "eta=-0.1"),
        ("euler_ancestral", {"eta": float("nan")}, "eta=nan"),
        ("dpmpp_2m_sde", {"eta": "much"}, "eta='much'"),
        ("dpmpp_2m_sde", {"solver_type": "euler"}, "'midpoint' or 'heun'"),
        ("dpmpp_sde", {"r": 0.3}, "r=0.3: the method has r=0.5 alone"),
        ("lms", {"order": 0}, "order=0"),
        ("euler", {"s_churn": -1.0}, "s_churn=-1"),
        ("euler", {"s_churn": 1.0, "s_tmin": 3.0, "s_tmax": 2.0}, "the smaller one first"),
        ("dpm_fast", {"eta": 0.5}, "dpm_fast is deterministic"),
        ("dpm_adaptive", {"sigma_max": 10.0, "eta": 0.5}, "controlled without noise"),
    ],
)
def test_values_out_of_range_are_refused(name: str, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        getattr(k_diffusion, f"sample_{name}")(model, X, 0.1 if "adaptive" in name else SIGMAS, disable=True, **options)


def test_churn_has_no_meaning_on_the_times_of_a_flow() -> None:
    with pytest.raises(ValueError, match="levels of a flow are times"):
        k_diffusion.sample_euler(Wrapped(CONST), X, TIMES, s_churn=1.0, disable=True)
    plain = k_diffusion.sample_euler(Wrapped(CONST), X, TIMES, disable=True)
    torch.testing.assert_close(k_diffusion.sample_euler(Wrapped(CONST), X, TIMES, s_churn=0.0, disable=True), plain)


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m_sde", "unipc_3", "dpm_fast"])
def test_one_level_returns_the_sample_as_split_levels_end(name: str) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError

    assert getattr(k_diffusion, f"sample_{name}")(never, X, SIGMAS[:1], disable=True) is X
    with pytest.raises(ValueError, match="decreasing noise levels"):
        getattr(k_diffusion, f"sample_{name}")(never, X, SIGMAS[:0], disable=True)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 8, 12])
def test_dpm_fast_is_that_of_k_diffusion(n: int) -> None:
    theirs = k_diffusion_samplers()["sample_dpm_fast"](model, X, 0.1, 10.0, n, disable=True)
    ours = k_diffusion.sample_dpm_fast(model, X, 0.1, 10.0, n, disable=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)  # their levels are float32
    with pytest.raises(ValueError, match="smaller one first"):
        k_diffusion.sample_dpm_fast(model, X, 10.0, 0.1, n)
    with pytest.raises(ValueError, match="n=0"):
        k_diffusion.sample_dpm_fast(model, X, 0.1, 10.0, 0)


@pytest.mark.parametrize("order", [2, 3])
def test_dpm_adaptive_is_that_of_k_diffusion(order: int) -> None:
    options = {"order": order, "rtol": 0.01, "atol": 0.001, "return_info": True}
    theirs, info = k_diffusion_samplers()["sample_dpm_adaptive"](model, X, 0.1, 10.0, disable=True, **options)
    ours, found = k_diffusion.sample_dpm_adaptive(model, X, 0.1, 10.0, disable=True, **options)
    assert found == info
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    seen: list[Any] = []
    k_diffusion.sample_dpm_adaptive(model, X, 0.1, 10.0, callback=seen.append, order=order)
    assert [d["i"] for d in seen] == list(range(len(seen)))
    assert float(seen[0]["sigma"]) == pytest.approx(10.0)
