"""What the chapter on the choice of a sampler says of libraries is what they are."""

from __future__ import annotations

import inspect
import json

import pytest

from tests.book.test_tools import BOOK, load

which = load(BOOK / "figures/which_sampler.py")
RECORD = json.loads((BOOK / "results/which_sampler.json").read_text(encoding="utf-8"))["diffusers"]


@pytest.mark.needs("diffusers")
def test_the_lines_on_record_are_those_of_the_installed_library() -> None:
    assert which.lines() == RECORD


@pytest.mark.needs("diffusers")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers and numpy
def test_every_line_makes_a_scheduler_that_takes_its_settings() -> None:
    import diffusers

    lines = [line for of_method in RECORD.values() for line in of_method.values()]
    assert len(lines) > 5
    for line in lines:
        kind = getattr(diffusers, line.partition("(")[0])
        made = eval(line, {kind.__name__: kind})
        flag = next(flag for flag in which.FLAGS.values() if flag in line)
        assert made.config[flag] is True
        assert flag in inspect.signature(kind).parameters
