"""Certify every listed method, and write the table of the README: ``python book/figures/methods_table.py``.

Leaves the numbers in book/results/certificates.json; book/results/methods.json and the table between the markers of the
README are made from that file and from nothing else (``--table-only`` stops at these). ``--mutate`` plants every defect
in every method as well. Finished pieces are kept in out/verify, so that an interrupted run loses nothing.
"""

import json
import sys
from pathlib import Path

import diffnum as dn
from diffnum.certificates import certify
from diffnum.certificates.kills import mutate
from diffnum.certificates.page import compact, markdown_table
from diffnum.cli.common import progress_bar

ROOT = Path(__file__).resolve().parents[2]
CERTIFICATES = ROOT / "book/results/certificates.json"
METHODS = ROOT / "book/results/methods.json"
README = ROOT / "README.md"
CACHE = ROOT / "out/verify"
BEGIN, END = "<!-- methods:begin -->", "<!-- methods:end -->"
COLUMNS = ("name", "title", "nfe_per_step", "claimed", "proved", "proof_ok", "measured", "shipped", "accuracy", "ok")


def measured(with_mutants: bool) -> dict[str, object]:
    """Certificates of all listed methods, in short."""
    with progress_bar("certifying") as show:
        found = certify(cache_dir=CACHE, progress=show)
    kills = None
    if with_mutants:
        with progress_bar("mutating") as show:
            kills = mutate(cache_dir=CACHE, progress=show)
    return compact(found, kills)


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
    if "--table-only" not in words:
        written(CERTIFICATES, measured("--mutate" in words))
    data = json.loads(CERTIFICATES.read_text(encoding="utf-8"))
    rows = [{name: row[name] for name in COLUMNS} for row in data["methods"]]
    written(METHODS, {"version": dn.__version__, "methods": rows})
    README.write_text(readme(README.read_text(encoding="utf-8"), markdown_table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
