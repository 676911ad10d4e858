"""Prove and measure every listed method, and write the table of the README: ``python book/figures/methods_table.py``.

Leaves the numbers in book/results/methods.json; the README's table is made from that file and from nothing else.
"""

import json
import sys
from pathlib import Path

import diffnum as dn
from diffnum.parallel import spread
from diffnum.report.methods import examine

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "book/results/methods.json"
BEGIN, END = "<!-- methods:begin -->", "<!-- methods:end -->"


def row(name: str) -> dict[str, object]:
    """Claimed, proved and measured orders of one method."""
    section = examine(name, quick=True)
    return {
        "name": name,
        "title": section.title,
        "nfe_per_step": section.nfe_per_step,
        "claimed": section.claimed,
        "proved": section.proved,
        "proof_ok": section.proof_ok,
        "measured": dict(section.measured),
        "shipped": section.shipped,
    }


def table(rows: list[dict[str, object]]) -> str:
    """Markdown table."""
    lines = [
        "| method | NFE per step | claimed | proved | measured (uniform / smooth / irregular) | as shipped |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        measured = r["measured"]
        assert isinstance(measured, dict)
        shown = " / ".join(str(v) for v in measured.values())
        if len(set(measured.values())) == 1:
            shown = str(next(iter(measured.values())))
        proved = r["proved"] if r["proof_ok"] else "not proved"
        lines.append(f"| `{r['name']}` | {r['nfe_per_step']} | {r['claimed']} | {proved} | {shown} | {r['shipped']} |")
    return "\n".join(lines)


def main(measure: bool) -> None:
    """Measure (unless only the table is wanted) and rewrite the README between its markers."""
    if measure:
        found = dict(spread(row, dn.methods()))
        rows = [found[name] for name in dn.methods()]
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps({"version": dn.__version__, "methods": rows}, indent=1) + "\n", encoding="utf-8")
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["methods"]
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    readme.write_text(f"{head}\n\n{table(rows)}\n\n{tail}", encoding="utf-8")


if __name__ == "__main__":
    main(measure="--table-only" not in sys.argv[1:])
