"""What the chapter on the choice of a sampler says of libraries is what they are."""

from __future__ import annotations

import json

import pytest

from tests.book.test_tools import BOOK, load

which = load(BOOK / "figures/which_sampler.py")
RECORD = json.loads((BOOK / "results/which_sampler.json").read_text(encoding="utf-8"))["diffusers"]

# of diffusers and numpy, and of diffusers on a choice that is still there
pytestmark = [
    pytest.mark.needs("diffusers"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`algorithm_types=dpmsolver` is deprecated:FutureWarning"),
]


def test_the_lines_on_record_are_those_that_the_installed_library_takes() -> None:
    assert which.lines() == RECORD
    assert {"dpmpp_2m", "unipc_3_bh2"} <= set(RECORD)


def test_a_line_that_the_library_refuses_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    def refuse(*_: object, use_karras_sigmas: bool = False, use_exponential_sigmas: bool = False, **__: object) -> None:
        if use_karras_sigmas:
            msg = "not these"
            raise ValueError(msg)
        assert use_exponential_sigmas

    monkeypatch.setattr(diffusers, "DPMSolverMultistepScheduler", refuse)
    assert set(which.lines()["dpmpp_2m"]) == {"uniform_half_log_snr"}
