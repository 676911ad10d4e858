"""Every defect of every kind is found by some check, and each miss of the global order has its reason."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

import diffnum as dn
from diffnum.certificates import kills as module
from diffnum.certificates.kills import KILLERS, Kill, Kills, examine, mutate
from diffnum.certificates.mutants import KINDS, Mutant, mutants, mutated
from diffnum.proofs import placements
from diffnum.proofs.claims import is_derived

NAMES = list(dn.methods())


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_node_and_index_has_its_mutants(name: str) -> None:
    record = dn.method(name)
    found = set(mutants(record))
    assert {m.kind for m in found} <= set(KINDS)
    for place in placements(record):
        step = place.rehearse()
        for row, _, value in step.rows():
            for source, weight in value.items():
                if not (isinstance(weight, int | float) and weight == 0):
                    assert {Mutant("weight", row, source), Mutant("sign", row, source)} <= found
        assert {Mutant("stage node", source=str(i + 1)) for i in range(step.nfe)} <= found
        assert {Mutant("past node", source=str(j + 1)) for j in range(place.past)} <= found


def test_all_kinds_of_defects_occur_in_the_catalogue() -> None:
    assert {m.kind for name in NAMES for m in mutants(dn.method(name))} == set(KINDS)


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m"])
def test_all_mutants_of_a_method_are_killed(name: str) -> None:
    found = mutate([name], jobs=1)
    assert found.ok, str(found)
    assert found.rate == 1
    assert len(found.kills) == len(mutants(dn.method(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unipc_2_bh2", "ghvb_1.8", "edm_heun", "deis_tab1", "plms_4", "dpmpp_3m"])
def test_all_mutants_of_each_kind_of_method_are_killed(name: str) -> None:
    found = mutate([name], jobs=2)
    assert found.ok, str(found)


def test_the_global_order_alone_would_let_defects_pass() -> None:
    found = mutate(["dpmpp_2m"], jobs=1)
    missed = [k for k in found.planted if "global order" not in k.killers]
    assert missed
    assert all(k.explanation for k in missed)
    assert sum(found.explanations().values()) == len(missed)


def test_a_stale_index_in_a_predictor_is_found_by_proof_and_probe() -> None:
    kill = examine(dn.method("unipc_2_bh2"), Mutant("stale index", "k1", "m0", "m1"))
    assert {"proof", "probe"} <= set(kill.killers)


def test_a_defect_that_changes_no_step_counts_as_none() -> None:
    kill = examine(dn.method("plms_4"), Mutant("past node", source="1"))  # PLMS reads no nodes
    assert kill.equivalent
    assert not kill.killed
    none = Kills((kill,))
    assert (none.planted, none.rate, none.ok) == ((), 1.0, True)
    assert "1 more change no step" in none.summary()


@pytest.mark.slow
def test_a_defect_with_a_small_constant_is_found_though_the_measured_order_does_not_show_it() -> None:
    kill = examine(dn.method("abm_3_variable"), Mutant("past node", source="2"))
    assert {"proof", "order conditions", "probe"} <= set(kill.killers)
    assert "global order" not in kill.killers
    assert kill.explanation == module.HIDDEN


def test_a_rule_that_refuses_its_input_kills_the_mutant() -> None:
    kill = examine(dn.method("eab_3"), Mutant("stale node", source="1", other="2"))  # two nodes become one
    assert kill.killers == ("refused",)
    assert kill.explanation == module.REFUSED


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "stale node"])
def test_a_mutant_differs_from_its_method_in_exact_arithmetic(kind: str) -> None:
    name = "eab_3" if kind != "shifted history" else "ghvb_1.8"
    record = dn.method(name)
    mutant = next(m for m in mutants(record) if m.kind == kind)
    assert not is_derived(mutated(record, mutant))
    assert str(mutant)


def test_planting_leaves_the_parameters_of_a_rule_alone() -> None:
    record = dn.method("ghvb_1.8")
    spoilt = mutated(record, Mutant("weight", "x", "k1"))
    assert isinstance(record.rule, partial)
    assert isinstance(spoilt.rule, partial)
    assert record.rule.keywords.items() <= spoilt.rule.keywords.items()
    assert is_derived(record)


def test_a_survivor_or_an_unexplained_miss_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    survivor = Kill("ddim", Mutant("sign", "x", "k1"), (), equivalent=False, explanation=module.HIGHER)
    killed = replace(survivor, killers=("proof",), explanation=module.UNEXPLAINED)
    assert not Kills((survivor,)).ok
    assert "SURVIVES ddim: the weight of k1 in x has the wrong sign" in str(Kills((survivor,)))
    assert not Kills((killed,)).ok
    assert "UNEXPLAINED" in str(Kills((killed,)))
    assert Kills((survivor,)).to_dict()["rate"] == 0


def test_the_table_counts_kills_by_killer() -> None:
    a = Kill("ddim", Mutant("sign", "x", "k1"), ("proof", "probe"), equivalent=False)
    b = Kill("ddim", Mutant("weight", "x", "k1"), ("proof",), equivalent=False)
    rows = {row.kind: row for row in Kills((a, b)).table()}
    assert set(rows) == {"sign", "weight", "all"}
    assert rows["all"].planted == 2
    assert rows["all"].killed == dict.fromkeys(KILLERS, 0) | {"proof": 2, "probe": 1}
