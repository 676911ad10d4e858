"""Arguments of a sampler on the command line: what they are read as, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import typer

from diffnum.cli.common import settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("False", False), ("false", False), ("FALSE", False), ("True", True), ("true", True), ("None", None),
        ("null", None), ("3", 3), ("-2", -2), ("0.5", 0.5), ("1e-3", 1e-3), ("-inf", -math.inf), ("[1, 2]", [1, 2]),
        ("(1, 2)", (1, 2)), ("{'a': None}", {"a": None}), ("[True, None]", [True, None]), ("midpoint", "midpoint"),
        ("sde-dpmsolver++", "sde-dpmsolver++"), ('"False"', "False"), ("'on'", "on"), ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_values_of_options_are_read_in_python_s_spelling_and_in_json_s(text: str, value: Any) -> None:
    found = settings("--option", [f"name={text}"])["name"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["clip_sample=no"], "write True, False or None, or a text in quotes"),
        (["clip_sample=on"], "write True, False or None"),
        (["clip_sample="], "write True, False or None"),
        (["a=1", "a=2"], "a is given twice"),
        (["=1"], "write name=value"),
    ],
)
def test_values_that_would_be_true_whatever_they_say_are_refused(pairs: list[str], message: str) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        settings("--option", pairs)


def test_an_option_that_is_off_measures_the_sampler_with_it_off() -> None:
    diffusers = pytest.importorskip("diffusers")
    found = [settings("--option", [f"clip_sample={word}"]) for word in ("False", "false")]
    assert [diffusers.DDIMScheduler(**options).config.clip_sample for options in found] == [False, False]
