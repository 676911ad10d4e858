"""The catalogue finds methods by name, alias and parameter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import diffnum as dn
from diffnum.coefficients.catalogue import aliases


@pytest.mark.parametrize("name", dn.methods())
def test_every_listed_record_is_complete_and_found_by_its_name(name):
    record = dn.method(name)
    assert record.name == name
    assert dn.methods()[name] is record
    assert record.title
    assert record.summary.endswith(".")
    assert record.cite
    assert record.equation
    assert record.order_with_startup >= 1


@pytest.mark.parametrize("alias", aliases())
def test_every_alias_leads_to_a_record(alias):
    assert dn.method(alias).name == aliases()[alias]


@given(order=st.integers(1, 12), stem=st.sampled_from(["eab", "eab_noise", "ab_velocity", "lms"]))
def test_families_are_built_on_demand(order, stem):
    record = dn.method(f"{stem}_{order}")
    assert (record.order, record.depth) == (order, order - 1)
    assert record is dn.method(f"{stem}_{order}")


def test_a_number_after_the_name_is_a_parameter():
    assert dn.method("ghvb_2.3").options["beta"] == pytest.approx(0.3)
    assert dn.method("deis_tab3").order == 4
    assert dn.method("unipc_4_bh1").options == {"order": 4, "variant": "bh1"} | {
        k: v for k, v in dn.method("unipc_4_bh1").options.items() if k not in ("order", "variant")
    }


@pytest.mark.parametrize(
    ("name", "near"), [("dpmpp2m", "dpmpp_2m"), ("unpic_3", "unipc_3"), ("DDIM", "ddim"), ("edm_huen", "edm_heun")]
)
def test_an_unknown_name_gets_the_nearest_ones(name, near):
    with pytest.raises(ValueError, match=f"method='{name}' is unknown: did you mean .*{near}"):
        dn.method(name)
    with pytest.raises(KeyError, match="is unknown"):
        dn.methods()[name]


@pytest.mark.parametrize("name", ["eab_0", "eab_13", "ghvb_0", "ghvb_12.5", "qqqqqq"])
def test_parameters_out_of_range_name_no_method(name):
    with pytest.raises(ValueError, match="is unknown"):
        dn.method(name)


def test_a_name_is_a_string():
    with pytest.raises(TypeError, match="method=3 is not a string"):
        dn.method(3)  # type: ignore[arg-type]


def test_the_mapping_counts_and_prints_what_it_lists():
    catalogue = dn.methods()
    assert len(catalogue) == len(list(catalogue)) == len(set(catalogue))
    assert "dpmpp_2m" in repr(catalogue)
    assert "eab_7" in catalogue
    assert "nonsense" not in catalogue


@pytest.mark.parametrize("name", ["hb_4_1.5", "nt_lms_3_0", "mdpm2_-0.5", "hb_dpm_solver_2_2"])
def test_a_beta_outside_its_range_is_named(name):
    with pytest.raises(ValueError, match=rf"method='{name}' has beta = .*, outside \(0, 1\]: 1 is no momentum"):
        dn.method(name)
