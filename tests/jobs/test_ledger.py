"""Finished work is kept, whole lines only, under names that say what it belongs to."""

from __future__ import annotations

from pathlib import Path

from diffnum.jobs.ledger import Ledger, digest, source_digest


def test_results_survive_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "work.jsonl"
    ledger = Ledger(path)
    ledger.put("a", {"x": [1, 2.5, None]})
    ledger.put("b", "text")
    again = Ledger(path)
    assert "a" in again
    assert again["a"] == {"x": [1, 2.5, None]} == ledger["a"]
    assert again["b"] == "text"
    assert "c" not in again


def test_a_line_that_was_cut_short_loses_nothing_but_itself(tmp_path: Path) -> None:
    path = tmp_path / "work.jsonl"
    Ledger(path).put("a", 1)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"key": "b", "val')
    ledger = Ledger(path)
    assert "b" not in ledger
    ledger.put("c", 3)
    again = Ledger(path)
    assert (again["a"], again["c"]) == (1, 3)


def test_a_ledger_without_a_file_keeps_results_for_the_run() -> None:
    ledger = Ledger(None)
    ledger.put("a", (1, 2))
    assert ledger["a"] == [1, 2]  # as a file would give it back


def test_names_depend_on_content_and_not_on_order() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})
    assert len(source_digest()) == 24
