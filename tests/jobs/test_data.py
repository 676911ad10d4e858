"""Records as data: what JSON can say, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from diffnum.jobs.data import from_data, json_text, jsonable, parsed


@dataclass(frozen=True)
class _Inner:
    name: str
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Outer:
    value: float
    inner: tuple[_Inner, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    maybe: float | None = None


def test_a_record_survives_the_way_to_json_and_back() -> None:
    given = _Outer(math.inf, (_Inner("a", (1, 2)),), {"b": [1.5, None, True]}, maybe=0.5)
    found = from_data(_Outer, parsed(json_text(given)))
    assert found == given
    assert found.maybe == given.maybe == 0.5


def test_arrays_and_scalars_of_numpy_become_lists_and_numbers() -> None:
    found = jsonable({"a": np.arange(2), "b": np.float32(0.5), "c": np.array([np.nan])})
    assert found == {"a": [0, 1], "b": 0.5, "c": [None]}


@pytest.mark.parametrize("value", [len, lambda t: 0, object(), _Inner, {1, 2}, 1j])
def test_what_is_no_data_is_refused_where_it_is_recorded(value: Any) -> None:
    with pytest.raises(TypeError, match="is no data"):
        jsonable({"deep": [(value,)]})
