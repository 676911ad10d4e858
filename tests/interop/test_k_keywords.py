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


@pytest.mark.parametrize("r", [0.5, 0.3, 1 / 3, 1.0])
@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_dpmpp_sde_takes_eta_and_r_on_one_brownian_path(eta: float, r: float) -> None:
    functions = k_diffusion_samplers()
    tree_of = inspect.unwrap(functions["sample_dpmpp_sde"]).__globals__["BrownianTreeNoiseSampler"]

    def run(sample: Any) -> Any:
        tree = tree_of(X, 0.19, 10.1, seed=4)  # its two draws a step overlap
        return sample(model, X, SIGMAS, disable=True, noise_sampler=tree, eta=eta, r=r)

    theirs, ours = run(functions["sample_dpmpp_sde"]), run(k_diffusion.sample_dpmpp_sde)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(k_diffusion_samplers()))
def test_every_function_of_k_diffusion_takes_all_its_keywords_at_their_defaults(name: str) -> None:
    function, ours = k_diffusion_samplers()[name], getattr(k_diffusion, name)
    parameters = inspect.signature(function).parameters
    given = {key: p.default for key, p in parameters.items() if p.default is not inspect.Parameter.empty}
    levels: tuple[Any, ...] = (SIGMAS,)
    if "sigma_min" in parameters:
        levels = (0.1, 10.0, *([6] if "n" in parameters else []))

    def run(sample: Any, options: Any) -> Any:
        torch.manual_seed(1)
        return sample(model, X, *levels, **{**options, "disable": True})

    assert run(ours, given).shape == X.shape
    torch.testing.assert_close(run(ours, given), run(ours, {}))


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
        ("dpmpp_sde", {"r": 0.0}, "r=0.0: the inner node is a fraction of the step"),
        ("dpmpp_sde", {"r": 1.3}, "r=1.3: use a number from 0 to 1"),
        ("lms", {"order": 0}, "order=0"),
        ("euler", {"s_churn": -1.0}, "s_churn=-1"),
        ("euler", {"s_churn": 1.0, "s_tmin": 3.0, "s_tmax": 2.0}, "the smaller one first"),
        ("dpm_fast", {"eta": 0.5}, "needs two levels and n evaluations"),
        ("dpm_adaptive", {"sigma_max": 10.0, "eta": 1.5}, "eta=1.5: use a number from 0 to 1"),
        ("dpm_adaptive", {"sigma_max": 10.0, "order": 4}, "order=4"),
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


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 8, 9])
@pytest.mark.parametrize("options", [{"eta": 1.0}, {"eta": 0.4, "s_noise": 1.01}], ids=str)
def test_dpm_fast_with_noise_is_that_of_k_diffusion(n: int, options: Any) -> None:
    def run(sample: Any) -> tuple[Any, list[Any]]:
        seen: list[Any] = []
        source = shared_noise(5)
        return sample(model, X, 0.1, 10.0, n, disable=True, noise_sampler=source, callback=seen.append, **options), seen

    (theirs, told), (ours, found) = (
        run(f) for f in (k_diffusion_samplers()["sample_dpm_fast"], k_diffusion.sample_dpm_fast)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    for a, b in zip(found, told, strict=True):
        assert a["i"] == b["i"]
        for key in ("x", "sigma", "sigma_hat", "denoised"):
            torch.testing.assert_close(a[key], b[key].to(a[key]), rtol=1e-4, atol=1e-4)


ADAPTIVE: tuple[dict[str, Any], ...] = (
    {},
    {"order": 2},
    {"rtol": 0.01, "atol": 0.001},
    {"pcoeff": 0.2, "icoeff": 0.4, "dcoeff": 0.1, "accept_safety": 0.9, "h_init": 0.3},
    {"eta": 1.0},
    {"eta": 0.4, "order": 2, "s_noise": 1.01},
    {"eta": 0.7, "rtol": 0.3, "h_init": 1.0},
    {"s_noise": 2.0},
)


@pytest.mark.parametrize("options", ADAPTIVE, ids=str)
def test_dpm_adaptive_is_that_of_k_diffusion(options: Any) -> None:
    def run(sample: Any) -> tuple[Any, list[Any]]:
        seen: list[Any] = []
        given = {"noise_sampler": shared_noise(5), "return_info": True, "callback": seen.append}
        return sample(model, X, 0.1, 10.0, disable=True, **given, **options), seen

    ((theirs, info), told), ((ours, found), seen) = (
        run(f) for f in (k_diffusion_samplers()["sample_dpm_adaptive"], k_diffusion.sample_dpm_adaptive)
    )
    assert found == info
    torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4)  # their levels are float32
    for a, b in zip(seen, told, strict=True):
        assert {key: a[key] for key in ("i", *info)} == {key: b[key] for key in ("i", *info)}
        for key in ("x", "sigma", "sigma_hat", "denoised", "error", "h"):
            there = torch.as_tensor(b[key], dtype=torch.float64)
            torch.testing.assert_close(torch.as_tensor(a[key], dtype=torch.float64), there, rtol=1e-3, atol=1e-3)


def test_default_noise_of_samplers_of_two_levels_is_torch_s() -> None:
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        runs.append(k_diffusion.sample_dpm_fast(model, X, 0.1, 10.0, 6, eta=1.0))
        runs.append(k_diffusion.sample_dpm_adaptive(model, X, 0.1, 10.0, eta=1.0))
    torch.testing.assert_close(runs[0], runs[2])
    torch.testing.assert_close(runs[1], runs[3])
    assert float((k_diffusion.sample_dpm_fast(model, X, 0.1, 10.0, 6, eta=1.0) - runs[0]).abs().max()) > 1e-3


TWO_LEVELS = {
    "sample_dpm_adaptive": {},
    "sample_dpm_fast": {"n": 30},
}


@pytest.mark.parametrize("name", TWO_LEVELS)
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_samplers_of_two_levels_keep_the_state_of_half_precision_in_float32(name: str, eta: float) -> None:
    def exact(x: Any, sigma: Any) -> Any:
        return 0.7 + 0.0 * x

    seen: list[Any] = []

    def told(x: Any, sigma: Any) -> Any:
        seen.append(x.dtype)
        return exact(x, sigma)

    start = torch.zeros(2, 4, dtype=torch.bfloat16)
    run = getattr(k_diffusion, name)
    found = run(told, start, 1e-3, 10.0, eta=eta, **TWO_LEVELS[name])
    assert found.dtype == torch.bfloat16
    assert set(seen) == {torch.bfloat16}
    assert float((found.float() - 0.7).abs().max()) < (0.005 if eta == 0 else 0.01)


@pytest.mark.parametrize("name", TWO_LEVELS)
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_samplers_of_two_levels_know_the_times_of_a_flow(name: str, eta: float) -> None:
    run, options = getattr(k_diffusion, name), {"eta": eta, **TWO_LEVELS[name]}
    torch.manual_seed(0)
    start = torch.randn(2, 4)
    point = run(lambda x, s: torch.full_like(x, 0.7), start, 1e-3, 1.0, flow=True, **options)
    assert float((point - 0.7).abs().max()) < 0.01
    with pytest.raises(ValueError, match="times, at most 1"):
        run(Wrapped(CONST), start, 0.1, 10.0, **options)


def test_law_of_dpm_fast_with_noise_is_kept_on_known_data() -> None:
    torch.manual_seed(0)
    x = 10.0 * torch.randn(200_000, dtype=torch.float64)[:, None]
    end = k_diffusion.sample_dpm_fast(lambda x, s: torch.zeros_like(x), x, 0.1, 10.0, 7, eta=0.8)
    assert float(end.std()) == pytest.approx(0.1, rel=0.01)
