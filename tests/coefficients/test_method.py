"""Programmes: which rule runs at which order on which step."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients.method import Method

NAMES = tuple(dn.methods())
names = st.sampled_from(NAMES)


def orders(name: str, n: int, **options: object) -> list[int]:
    return [placement.order for placement in dn.method(name).programme(n, **options)]


def test_a_ramp_climbs_as_the_history_fills():
    assert orders("eab_4", 6) == [1, 2, 3, 4, 4, 4]
    assert orders("dpmpp_2m", 3) == [1, 2, 2]
    assert orders("edm_heun", 3) == [2, 2, 2]


def test_a_high_order_start_uses_one_step_methods_of_the_full_order():
    programme = dn.method("eab_4").programme(6, start="high_order")
    assert [p.order for p in programme] == [4] * 6
    assert [p.rehearse().nfe for p in programme] == [4, 4, 4, 1, 1, 1]


def test_an_exact_start_consumes_the_history_and_runs_at_full_order():
    programme = dn.method("eab_4").programme(6, start="exact")
    assert [p.order for p in programme] == [4] * 3
    assert programme[0].known == {"x", "m1", "m2", "m3"}


def test_the_order_falls_at_the_end_where_asked():
    assert orders("eab_3", 6, lower_order_final=True) == [1, 2, 3, 3, 2, 1]
    assert orders("edm_heun", 2, lower_order_final=True) == [2, 1]


def test_a_step_to_zero_noise_makes_no_evaluation_there():
    programme = dn.method("edm_heun").programme(3, ends_at_zero=True)
    assert [p.order for p in programme] == [2, 2, 1]
    assert [p.rehearse().nfe for p in programme] == [2, 2, 1]


def test_only_a_run_that_ends_leaves_the_last_correction_out():
    record = dn.method("unipc_3_bh2")
    assert [p.rehearse().nfe for p in record.programme(3)] == [2, 1, 0]
    assert [p.rehearse().nfe for p in record.programme(3, continues=True)] == [2, 1, 1]


@given(name=names, n=st.integers(1, 30))
def test_evaluations_are_those_of_the_steps_and_grow_with_them(name, n):
    record = dn.method(name)
    assert record.nfe(n) == sum(p.rehearse().nfe for p in record.programme(n))
    assert record.nfe(n, terminal="denoise") == record.nfe(n) + 1
    assert record.nfe(n) <= record.nfe(n + 1)


@given(name=names, nfe=st.integers(6, 60))
def test_steps_for_is_the_largest_number_that_fits(name, nfe):
    record = dn.method(name)
    n = record.steps_for(nfe)
    assert record.nfe(n) <= nfe < record.nfe(n + 1)


@pytest.mark.parametrize("name", NAMES)
def test_an_order_is_claimed_on_every_kind_of_grid(name):
    record = dn.method(name)
    assert isinstance(record, Method)
    assert all(record.order_on(kind) >= 1 for kind in ("uniform", "smooth", "irregular"))
    assert record.order_with_startup <= max(record.order_on(kind) for kind in ("uniform", "smooth", "irregular"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.programme(0), "n_steps=0 is not a positive whole number"),
        (lambda m: m.programme(2.5), "n_steps=2.5"),
        (lambda m: m.programme(True), "n_steps=True"),
        (lambda m: m.programme(5, start="fast"), "start='fast' is unknown"),
        (lambda m: m.programme(3, start="exact"), "use at least 4"),
        (lambda m: m.order_on("random"), "grid='random'"),
        (lambda m: m.steps_for(0), "nfe=0 is too small"),
        (lambda _: dn.method("eab_6").programme(9, start="high_order"), "order 6"),
    ],
)
def test_what_cannot_be_run_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(dn.method("eab_4"))


def test_programmes_do_not_keep_a_method_or_what_its_rule_holds_alive():
    class Heavy:
        pass

    def rule(window, order, heavy):
        return dn.method("eab_2").rule(window, order)

    heavy = Heavy()
    record = replace(dn.method("eab_2"), rule=partial(rule, heavy=heavy))
    assert record.programme(5) is record.programme(5)
    dn.plan(record, dn.schedules.VPLinear(), dn.grids.uniform_half_log_snr(dn.schedules.VPLinear(), 4))
    gone = weakref.ref(record), weakref.ref(heavy)
    del record, heavy
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
