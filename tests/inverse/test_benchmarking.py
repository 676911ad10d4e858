"""The posterior benchmark: it goes on where it was stopped, and says what its parts say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diffnum.inverse import METHODS, benchmark, exact_law
from diffnum.inverse.benchmarking import BenchmarkTask, gaussian_prior, tasks, three_modes


def test_every_sampler_takes_part_where_it_can():
    entries = list(tasks(list(METHODS.values())))
    assert len(set(entries)) == len(entries)
    assert {task.method for task in entries} == set(METHODS)
    assert not [task for task in entries if task.method == "dps" and task.part == "exact"]
    assert not [task for task in entries if task.method == "repaint" and task.part != "exact"]


def test_an_entry_is_the_law_that_it_names():
    task = BenchmarkTask("exact", "pigdm", 10)
    prior, op = gaussian_prior(10.0)
    assert np.linalg.cond(prior.covariance_matrix) == pytest.approx(10.0)
    assert task.run(METHODS["pigdm"])["w2"] == exact_law("pigdm", prior, op, 0.3, steps=10)[1].w2
    assert three_modes()[1].measured == (1,)


def test_a_stopped_run_goes_on_and_a_sampler_of_ones_own_takes_part(tmp_path, monkeypatch):
    own = replace(METHODS["ddrm"], name="own")
    monkeypatch.setattr("diffnum.inverse.benchmarking.STEPS", (5,))
    monkeypatch.setattr("diffnum.inverse.benchmarking.USUAL_STEPS", 5)
    monkeypatch.setattr("diffnum.inverse.benchmarking.SAMPLES", 50)
    monkeypatch.setattr("diffnum.inverse.benchmarking.PAIRS", 4)
    seen: list[int] = []

    def stop(done, total, what):
        seen.append(done)
        if done == 5:
            raise KeyboardInterrupt

    ledger = tmp_path / "entries.jsonl"
    with pytest.raises(KeyboardInterrupt):
        benchmark([own], ledger=ledger, progress=stop)
    kept = ledger.read_text(encoding="utf-8")
    found = benchmark([own], ledger=ledger)
    assert ledger.read_text(encoding="utf-8").startswith(kept)
    assert len(kept.splitlines()) == 5
    assert {row["part"] for row in found["rows"]} == {"exact", "mixture", "calibration"}
    assert found["seconds"] == sum(row["seconds"] for row in found["rows"])


def test_samplers_are_named_or_given() -> None:
    with pytest.raises(ValueError, match="method='dsp' is unknown: use one of"):
        benchmark(["dsp"])
