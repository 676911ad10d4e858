"""Certify every listed method, and write the table of the README: ``python book/figures/methods_table.py``.

Leaves the numbers in book/results/certificates.json; book/results/methods.json and the table between the markers of the
README are made from that file and from nothing else (``--table-only`` stops at these). ``--mutate`` plants every defect
in every method as well. Names of methods, which are new, certify these alone: the other rows stay, defects are added to
those that were planted before. Finished pieces are kept in out/verify, so that an interrupted run loses nothing.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import diffnum as dn
from diffnum.certificates import certify
from diffnum.certificates.kills import mutate
from diffnum.certificates.page import compact, markdown_table
from diffnum.cli.progress import progress_bar

ROOT = Path(__file__).resolve().parents[2]
CERTIFICATES = ROOT / "book/results/certificates.json"
METHODS = ROOT / "book/results/methods.json"
README = ROOT / "README.md"
CACHE = ROOT / "out/verify"
BEGIN, END = "<!-- methods:begin -->", "<!-- methods:end -->"
COLUMNS = ("name", "title", "nfe_per_step", "claimed", "proved", "proof_ok", "measured", "shipped", "accuracy", "ok")


def measured(names: list[str] | None, with_mutants: bool) -> dict[str, Any]:
    """Certificates of these methods, or of all listed ones, in short."""
    with progress_bar("certifying") as show:
        found = certify(names, cache_dir=CACHE, progress=show)
    kills = None
    if with_mutants:
        with progress_bar("mutating") as show:
            kills = mutate(names, cache_dir=CACHE, progress=show)
    return compact(found, kills)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What was established before, with methods that have come since."""
    rows = {row["name"]: row for row in (*old["methods"], *new["methods"])}
    result = old | {"methods": [rows[name] for name in dn.methods() if name in rows]}
    if again := sorted({row["name"] for row in old["methods"]} & {row["name"] for row in new["methods"]}):
        msg = f"{', '.join(again)}: certified before, so that their defects would count twice; certify all methods"
        raise SystemExit(msg)
    if "mutants" in new:
        result["mutants"] = _added(old["mutants"], new["mutants"])
    return result


def _added(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Two mutation runs as one."""
    table = {row["kind"]: row for row in old["table"]}
    for row in new["table"]:
        if (before := table.get(row["kind"])) is not None:
            killed = {name: count + row["killed"][name] for name, count in before["killed"].items()}
            counts = {name: before[name] + row[name] for name in ("planted", "survivors")}
            table[row["kind"]] = row | counts | {"killed": killed}
        else:
            table[row["kind"]] = row
    table["all"] = table.pop("all")
    planted, found = table["all"]["planted"], table["all"]["planted"] - table["all"]["survivors"]
    idle = sum(int(n) for run in (old, new) for n in re.findall(r"(\d+) more change", run["summary"]))
    summary = f"{found} of {planted} planted defects are found ({100 * found / planted:.4g} %)"
    why = Counter(old["explanations"]) + Counter(new["explanations"])
    return {
        "summary": summary + (f"; {idle} more change no step of any plan." if idle else "."),
        "rate": found / planted,
        "ok": old["ok"] and new["ok"],
        "table": list(table.values()),
        "explanations": dict(why.most_common()),
        "survivors": old["survivors"] + new["survivors"],
        "unexplained": old["unexplained"] + new["unexplained"],
    }


def written(path: Path, data: object) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def readme(text: str, table: str) -> str:
    """Text of the README with another table between its markers."""
    head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    return f"{head}\n\n{table}\n\n{tail}"


def main(*words: str) -> None:
    """Certify, unless only the table is wanted, and rewrite what is made of the certificates."""
    names = [word for word in words if not word.startswith("--")]
    if "--table-only" not in words:
        found = measured(names or None, "--mutate" in words)
        before = json.loads(CERTIFICATES.read_text(encoding="utf-8")) if names else {}
        written(CERTIFICATES, merged(before, found) if names else found)
    data = json.loads(CERTIFICATES.read_text(encoding="utf-8"))
    rows = [{name: row[name] for name in COLUMNS} for row in data["methods"]]
    written(METHODS, {"version": dn.__version__, "methods": rows})
    README.write_text(readme(README.read_text(encoding="utf-8"), markdown_table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
