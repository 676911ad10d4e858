"""Tables, levels and labels of the scheduler that is replaced: every class, spacing, offset, flag, number of steps."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

diffusers = pytest.importorskip("diffusers")

from diffnum.interop import PlanScheduler  # noqa: E402
from diffnum.interop.configuration import grid_of, is_flow, label_scale  # noqa: E402
from diffnum.interop.nodes import FLOWS, SPACED_AS  # noqa: E402
from diffnum.models.loading.understood import DEFAULTS, KINDS  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of diffusers: deprecations, and configurations that it changes

STEPS = (1, 2, 7, 33, 1000)
FLAGS = (None, "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
STAGES = ("KDPM2", "DPMSolverSDE", "HeunDiscrete")  # whose lists hold stages between the nodes, or nodes twice
DISTILLED = ("LCMScheduler", "TCDScheduler")
TABLES = tuple(name for name in SPACED_AS if KINDS[name] == "table" and name not in DISTILLED)
SOLVERS = tuple(name for name in TABLES if "use_flow_sigmas" in DEFAULTS[name])


def theirs_of(name: str, n: int, mu: float | None = None, **config: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """A scheduler of diffusers, the labels of its nodes, and their noise levels with that of the end."""
    if name == "PNDMScheduler":
        config = {"skip_prk_steps": True, **config}
    theirs = getattr(diffusers, name)(**config)
    theirs.set_timesteps(n, **({} if mu is None else {"mu": mu}))
    labels = theirs.timesteps.double().numpy()
    if not hasattr(theirs, "sigmas"):  # the table at the labels, and clean data or label 0
        labels = np.unique(labels)[::-1]
        products = theirs.alphas_cumprod.double().numpy()
        if labels[0] >= len(products):  # steps_offset has gone beyond the table: diffusers fails when it gets there
            return theirs, labels, np.array([])
        clean = theirs.config.get("set_alpha_to_one", name not in ("PNDMScheduler",))
        last = 0.0 if clean else products[0] ** -1 - 1.0
        return theirs, labels, np.sqrt(np.append(1.0 / products[labels.astype(int)] - 1.0, last))
    levels = theirs.sigmas.double().numpy()
    if name.startswith(STAGES) or name == "FlowMatchHeunDiscreteScheduler":
        keep = [0, *range(1, len(levels) - 1, 2), len(levels) - 1] if len(levels) > 2 else [0, 1]
        levels = levels[keep]
        if name.startswith(("KDPM2", "DPMSolverSDE")):
            labels = np.concatenate([labels[:1], labels[2::2]])
        else:
            labels = np.concatenate([labels[:1], labels[1::2]])
        levels = np.concatenate([levels[: len(labels)], levels[-1:]])
    return theirs, labels, levels


def compared(
    name: str, n: int, *, labels_by: float = 1e-4, levels_by: float = 2e-4, mu: float | None = None, **config: Any
) -> bool:
    """Whether ours has the nodes of theirs; False where both, or theirs for want of labels, have none."""
    theirs, labels, levels = theirs_of(name, n, mu, **config)
    ours = PlanScheduler.from_config(theirs.config, method="ddim")
    if ours.config.final_sigmas_type == "sigma_min" and len(levels) > 1 and levels[-1] >= levels[-2] * (1 - 1e-6):
        labels, levels = labels[:-1], levels[:-1]  # an evaluation without effect is left out
    again = not config.get("use_flow_sigmas") and not any(config.get(flag) for flag in FLAGS if flag)
    there = len(labels) > 0 and labels[-1] >= 0.0 and labels[0] <= (1000.0 if is_flow(ours.config) else 999.0)
    if again:  # labels of levels are rounded down, so that two may be one
        there = there and bool((np.diff(labels) < 0.0).all())
    if not there or not (np.diff(levels) < 0.0).all():
        with pytest.raises(ValueError, match=r"take (fewer|more) steps|closer to 1"):
            nodes(ours, n, mu)
        return False
    found = nodes(ours, n, mu)
    np.testing.assert_allclose(found[0], labels, rtol=2e-6, atol=labels_by)
    np.testing.assert_allclose(found[1], levels, rtol=levels_by, atol=1e-7)
    return True


def nodes(scheduler: Any, n: int, mu: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Labels and levels of a run, without the time that its plan takes."""
    grid, first = grid_of(scheduler.config, scheduler.schedule, n, mu=mu, built=scheduler._built)
    t = np.append(first, grid.t[1:])
    levels = t if is_flow(scheduler.config) else np.exp(-np.asarray(scheduler.schedule.half_log_snr(t)))
    return t[:-1] * label_scale(scheduler.config), levels


def spacings(name: str) -> Iterator[dict[str, Any]]:
    known = DEFAULTS[name]
    if "timestep_spacing" not in known:
        yield {}
        return
    for spacing, offset in itertools.product(("leading", "linspace", "trailing"), (0, 1)):
        yield {"timestep_spacing": spacing, "steps_offset": offset}


def endings(name: str) -> Iterator[dict[str, Any]]:
    known = DEFAULTS[name]
    if "final_sigmas_type" in known:
        yield from ({"final_sigmas_type": end} for end in ("zero", "sigma_min"))
    elif "set_alpha_to_one" in known:
        yield from ({"set_alpha_to_one": end} for end in (True, False))
    else:
        yield {}


@pytest.mark.slow
@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("name", TABLES)
def test_nodes_of_a_table_are_those_of_the_scheduler_that_is_replaced(name: str, flag: str | None) -> None:
    if flag is not None and flag not in DEFAULTS[name]:
        pytest.skip(f"{name} has no {flag}")
    if name == "DPMSolverSDEScheduler":
        pytest.importorskip("torchsde")
    # labels of levels are rounded by some, and between labels their levels are linear where ours are log-linear
    rounded = 1.0 if flag else 1e-4
    count = 0
    for spacing, end, n in itertools.product(spacings(name), endings(name), STEPS):
        real = spacing.get("timestep_spacing") == "linspace" and flag is None
        if (n == 1 and name == "UnCLIPScheduler") or (n > 100 and (flag or name.startswith(STAGES))):
            continue
        levels_by = (
            0.06 if real and not name.startswith(("DPMSolverM", "DPMSolverSin", "UniPC", "DEIS", "SAS")) else 3e-4
        )
        count += compared(
            name,
            n,
            labels_by=rounded,
            levels_by=levels_by,
            **spacing,
            **end,
            **({flag: True} if flag else {}),
        )
    assert count > 2


TABLE_SETTINGS = (
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"},
    {"num_train_timesteps": 50},
    {"rescale_betas_zero_snr": True},
    {"snr_shift_scale": 1.5},
    {"trained_betas": np.linspace(1e-3, 0.02, 40).tolist(), "num_train_timesteps": 40},
)


@pytest.mark.parametrize("settings", TABLE_SETTINGS, ids=lambda one: "-".join(one))
@pytest.mark.parametrize("name", [*TABLES, *DISTILLED])
def test_tables_are_those_of_the_scheduler_that_is_replaced(name: str, settings: dict[str, Any]) -> None:
    if not set(settings) <= set(DEFAULTS[name]) or (name == "UnCLIPScheduler" and "beta_start" in settings):
        pytest.skip(f"{name} has no such key")
    theirs = getattr(diffusers, name)(**settings)
    ours = PlanScheduler.from_config(theirs.config, prediction_type="v_prediction")
    # where diffusers keeps a last product of 2^-24, the process has none
    np.testing.assert_allclose(ours.alphas_cumprod, theirs.alphas_cumprod, rtol=2e-3, atol=1e-7)
    assert ours.config.num_train_timesteps == len(ours.alphas_cumprod) == len(theirs.alphas_cumprod)


FLOW_STEPS = (1, 2, 5, 50)


@pytest.mark.parametrize("flag", FLAGS[:4])
@pytest.mark.parametrize("name", FLOWS)
def test_nodes_of_a_flow_are_those_of_the_scheduler_that_is_replaced(name: str, flag: str | None) -> None:
    if flag is not None and flag not in DEFAULTS[name]:
        pytest.skip(f"{name} has no {flag}")
    dynamic = [{"use_dynamic_shifting": True, "time_shift_type": kind} for kind in ("exponential", "linear")]
    terminal = [{}, {"shift_terminal": 0.1}]
    plain: list[dict[str, Any]] = [{"shift": shift} for shift in (1.0, 3.0, 0.5, 17.0)]
    every = itertools.product([*plain, *dynamic], terminal) if name != FLOWS[1] else itertools.product(plain, [{}])
    count = 0
    for (shift, end), n in itertools.product(every, FLOW_STEPS):
        if n == 1 and end:  # theirs is 0/0
            continue
        mu = 0.9 if "use_dynamic_shifting" in shift else None
        count += compared(
            name, n, labels_by=2e-3, levels_by=1e-5, mu=mu, **shift, **end, **({flag: True} if flag else {})
        )
    assert count > 5


@pytest.mark.parametrize("name", SOLVERS)
def test_nodes_of_a_flow_in_a_solver_are_those_of_the_scheduler_that_is_replaced(name: str) -> None:
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    shifts: list[tuple[dict[str, Any], float | None]] = [({"flow_shift": s}, None) for s in (1.0, 3.0, 0.5, 12.0)]
    if "use_dynamic_shifting" in DEFAULTS[name]:
        shifts.append(({"use_dynamic_shifting": True}, 0.9))
    ends = (
        [{}] if "final_sigmas_type" not in DEFAULTS[name] else [{"final_sigmas_type": e} for e in ("zero", "sigma_min")]
    )
    terminals = [{}, {"shift_terminal": 0.1}] if "shift_terminal" in DEFAULTS[name] else [{}]
    count = 0
    for (shift, mu), end, terminal, n in itertools.product(shifts, ends, terminals, (1, 2, 5, 20, 50)):
        if n == 1 and terminal:
            continue
        exact = 1e-5 if end.get("final_sigmas_type") != "sigma_min" else 2e-4  # a level of their float32 table
        count += compared(name, n, labels_by=1.0, levels_by=exact, mu=mu, **flow, **shift, **end, **terminal)
    assert count > 5


def test_karras_levels_of_a_flow_in_unipc_are_its_own() -> None:
    config = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "use_karras_sigmas": True}
    assert compared("UniPCMultistepScheduler", 20, labels_by=1.0, levels_by=2e-4, **config)
    ends = {"sigma_min": 0.05, "sigma_max": 60.0}
    assert compared("UniPCMultistepScheduler", 20, labels_by=1.0, levels_by=2e-4, **config, **ends)


@pytest.mark.parametrize("flag", FLAGS[1:4])
@pytest.mark.parametrize("name", SOLVERS)
def test_levels_of_the_table_are_no_times_of_a_flow(name: str, flag: str) -> None:
    if (name, flag) == ("UniPCMultistepScheduler", "use_karras_sigmas"):
        return
    theirs = getattr(diffusers, name)(use_flow_sigmas=True, prediction_type="flow_prediction", **{flag: True})
    theirs.set_timesteps(5)
    assert float(theirs.sigmas.max()) > 1.0  # which is why
    with pytest.raises(ValueError, match=r"use_flow_sigmas=True and \w+ spacing: .*set one of the two"):
        PlanScheduler.from_config(theirs.config).set_timesteps(5)


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "UniPCMultistepScheduler"])
@pytest.mark.parametrize("flag", FLAGS[1:4])
@pytest.mark.parametrize("ends", [{"sigma_min": 0.1, "sigma_max": 10.0}, {"sigma_max": 20.0}, {"sigma_min": 0.5}])
def test_levels_may_have_other_ends_than_the_table(name: str, flag: str, ends: dict[str, float]) -> None:
    for n, end in itertools.product((2, 6, 20), ("zero", "sigma_min")):
        assert compared(name, n, labels_by=1.0, final_sigmas_type=end, **{flag: True}, **ends) or end == "sigma_min"


def test_levels_beyond_the_table_are_refused() -> None:
    config = diffusers.EulerDiscreteScheduler(use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0).config
    with pytest.raises(ValueError, match=r"sigma_min=0.002, sigma_max=700.0: pass levels sigma/alpha between"):
        PlanScheduler.from_config(config).set_timesteps(5)


def test_two_words_for_one_thing_would_be_found() -> None:
    """The control: nodes of one scheduler are not those of another."""
    theirs, labels, _ = theirs_of("DDIMScheduler", 10, timestep_spacing="leading")
    other = PlanScheduler.from_config(theirs.config, spacing_as="DPMSolverMultistepScheduler")
    other.set_timesteps(10)
    assert not np.array_equal(other.timesteps.numpy(), labels)


def test_warnings_are_not_needed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler = PlanScheduler()
        scheduler.set_timesteps(1000 // 2)
    assert len(scheduler.timesteps) == 500
