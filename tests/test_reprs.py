"""Every record of a public registry is one short line, and a table where it is the last word of a cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType
from typing import Any

import pytest

import diffnum as dn

MOST = 400
"""Characters of a repr, in one line."""

OPTIONAL = "torch", "triton", "diffusers", "flint", "jinja2", "safetensors", "sklearn", "typer"


def rooms() -> Iterator[ModuleType]:
    """Modules of the package, those that want an extra which is not installed left out."""
    yield dn
    for found in walk_packages(dn.__path__, "diffnum.", onerror=lambda _: None):
        if any(part.startswith("_") for part in found.name.split(".")[1:]):
            continue
        try:
            yield import_module(found.name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in OPTIONAL:
                raise


def inside(place: str, value: Any, depth: int = 3) -> Iterator[tuple[str, Any]]:
    """Records that a public value is, or holds: in mappings and sequences."""
    if isinstance(value, type):
        return
    if is_dataclass(value):
        yield place, value
    elif depth and isinstance(value, Mapping):
        for key, entry in value.items():
            yield from inside(f"{place}[{key!r:.40}]", entry, depth - 1)
    elif depth and isinstance(value, tuple | list | frozenset):
        for index, entry in enumerate(value):
            yield from inside(f"{place}[{index}]", entry, depth - 1)


def records() -> dict[int, tuple[str, Any]]:
    """By identity, with the place where each is found first."""
    found: dict[int, tuple[str, Any]] = {}
    for room in rooms():
        for name in getattr(room, "__all__", ()):
            try:
                value = getattr(room, name)
            except ModuleNotFoundError:  # of an extra
                continue
            for place, record in inside(f"{room.__name__}.{name}", value):
                found.setdefault(id(record), (place, record))
    for name, method in dn.methods("all").items():
        found.setdefault(id(method), (f"method {name}", method))
    return found


def long_ones(found: dict[int, tuple[str, Any]]) -> list[str]:
    lines = ((place, repr(record)) for place, record in found.values())
    return [f"{place}: {len(line)} characters" for place, line in lines if len(line) > MOST or "\n" in line]


@pytest.mark.slow
def test_every_record_of_a_registry_is_one_short_line() -> None:
    found = records()
    assert len(found) > 200
    assert long_ones(found) == []


def test_a_long_record_would_be_noticed() -> None:
    from dataclasses import make_dataclass

    long = make_dataclass("Long", ["text"])("x" * MOST)
    assert long_ones({0: ("here", long)}) == [f"here: {len(repr(long))} characters"]
    assert [place for place, _ in inside("here", {"a": (long,)})] == ["here['a'][0]"]


@pytest.mark.parametrize(
    ("registry", "words"),
    [
        (lambda: dn.methods("all"), "order"),
        (lambda: dn.guidance.RULES, "formula"),
        (lambda: dn.inverse.METHODS, "takes"),
        (lambda: dn.inverse.START_METHODS, "finds"),
        (lambda: dn.discrete.SAMPLERS, "processes"),
    ],
    ids=["methods", "guidance rules", "posterior samplers", "ways to start", "token samplers"],
)
def test_a_record_is_a_table_in_a_notebook(registry: Any, words: str) -> None:
    for name, record in registry().items():
        page = record._repr_html_()
        assert page.startswith("<table>"), name
        assert words in page, name
