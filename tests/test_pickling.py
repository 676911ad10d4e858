"""Everything public pickles: a spawned process, or a worker of Ray or of dask, runs the same numbers."""

from __future__ import annotations

import copy
import importlib
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import diffnum as dn
from diffnum import forms, grids, guidance, schedules
from diffnum.coefficients.catalogue import aliases
from diffnum.coefficients.extended_reverse import NOISE_SCALES

VP = schedules.VPLinear()
X = np.random.default_rng(0).standard_normal((8, 1))


@cache
def exact() -> Any:
    return dn.problems.three_peaks().denoiser(VP)


def nodes(n: int = 5) -> Any:
    return grids.uniform_half_log_snr(VP, n)


def same(made: Any) -> Any:
    return pickle.loads(pickle.dumps(made))


@pytest.mark.parametrize("name", [*dn.methods("all"), "eab_7", "ghvb_2.3", "unipc_4_bh1", "ddim_eta0.3"])
def test_a_record_of_the_catalogue_is_itself_again(name: str) -> None:
    record = dn.method(name)
    assert all(pickle.loads(pickle.dumps(record, protocol)) is record for protocol in range(2, 6))
    assert copy.deepcopy(record) is record


def listed() -> list[Any]:
    """What the public registries of all rooms list, with its place."""
    found = []
    for room in sorted(m.name for m in pkgutil.iter_modules(dn.__path__) if m.ispkg):
        try:
            module = importlib.import_module(f"diffnum.{room}")
        except ModuleNotFoundError:  # of an extra
            continue
        for name in getattr(module, "__all__", ()):
            registry = vars(module).get(name)  # what is loaded late is no registry
            if isinstance(registry, Mapping):
                found += [pytest.param(value, id=f"{room}.{name}[{key}]") for key, value in registry.items()]
    return found


@pytest.mark.parametrize("record", listed())
def test_what_a_public_registry_lists_pickles(record: Any) -> None:
    for protocol in range(2, 6):
        again = pickle.loads(pickle.dumps(record, protocol))
        assert type(again) is type(record)
        assert repr(again) == repr(record)


def test_an_alias_names_the_same_record() -> None:
    for alias, name in aliases().items():
        assert dn.method(alias) is dn.method(name)


def test_a_record_of_the_user_s_own_keeps_its_fields_and_steps_alike() -> None:
    own = replace(dn.method("dpmpp_2m"), name="mine", title="Mine")
    again = same(own)
    assert (again.name, again.title, again.form) == ("mine", "Mine", own.form)
    assert dn.plan(again, VP, nodes()) == dn.plan(own, VP, nodes())
    renamed = replace(dn.method("dpmpp_2m"), title="Another title")  # a name of the catalogue, and not its record
    assert same(renamed).title == "Another title"


@pytest.mark.parametrize("form", [*forms.FORMS.values(), forms.DRIFT], ids=lambda form: form.name)
def test_a_form_is_itself_again_and_what_is_made_of_it_is_equal(form: Any) -> None:
    assert same(form) is form
    for made in (forms.riemann(form, 50), replace(form, linear=True)):
        assert same(made) == made
    for made in (forms.time_form(VP), forms.drift_form(VP)):
        assert same(made) == made
        at = forms.Nodes.at(schedules.EDM(), np.array([1.0, 2.0]), np.array([0.0, -0.7]))
        assert np.array_equal(same(made).clock(at), made.clock(at))


@pytest.mark.parametrize("name", list(NOISE_SCALES))
def test_a_noise_scale_is_equal(name: str) -> None:
    assert same(NOISE_SCALES[name]) == NOISE_SCALES[name]


MADE: dict[str, Callable[[], Any]] = {
    "plan": lambda: dn.plan("unipc_3", VP, nodes()),
    "stochastic plan": lambda: dn.plan("sde_dpmpp_2m", VP, nodes()),
    "grid": nodes,
    "schedule": lambda: schedules.Tabulated.from_betas(schedules.linear_betas(50)),
    "gaussian": lambda: dn.problems.gaussian_example(),
    "mixture": lambda: dn.problems.three_peaks(),
    "product": lambda: dn.problems.rotated_product(),
    "denoiser": exact,
    "guided": lambda: guidance.cfg_plus_plus(exact(), nodes(), 0.5, unconditional=exact()),
    "ramp": lambda: guidance.Ramp(1.0, 2.0, "cosine"),
    "proof": lambda: dn.prove("dpmpp_2m"),
    "study": lambda: dn.convergence_study("dpmpp_2m", steps=(20, 40, 80)),
    "weak study": lambda: dn.weak_study("sde_dpmpp_2m"),
    "law study": lambda: dn.law_study("sde_dpmpp_2m"),
    "analysis": lambda: dn.analysis.analyse("dpmpp_2m"),
}


@pytest.mark.parametrize("what", list(MADE))
def test_what_the_package_returns_pickles(what: str) -> None:
    made = MADE[what]()
    again = same(made)
    assert type(again) is type(made)
    assert repr(again) == repr(made)


@pytest.mark.parametrize("name", ["dpmpp_2m", "edm_heun", "unipc_3", "sde_dpmpp_2m", "pndm"])
def test_a_derivation_keeps_its_formula(name: str) -> None:
    made = dn.derive(name)
    again = same(made)
    assert again.latex() == made.latex()
    assert again.weights == made.weights
    assert again.code() == made.code()


def _answers(payload: bytes) -> bytes:
    """In another process: the numbers of a run, from what was sent."""
    record, plan, model, x = pickle.loads(payload)
    direct = dn.solve(plan, model, x)
    planned = dn.solve(dn.plan(record, VP, nodes()), model, x)
    return pickle.dumps((direct, planned))


def test_a_spawned_process_runs_the_same_numbers() -> None:
    record = dn.method("dpmpp_2m")
    plan = dn.plan(record, VP, nodes())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pickle.loads(pool.apply(_answers, (pickle.dumps((record, plan, exact(), X)),)))
    expected = dn.solve(plan, exact(), X)
    assert all(np.array_equal(one, expected) for one in found)
