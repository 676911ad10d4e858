"""Where a clone came from, as an address that a reader may follow."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.book.test_tools import BOOK, load

pytest.importorskip("sphinx", reason="Sphinx comes with the book: make book")
repository = load(BOOK / "_ext/repository.py")


@pytest.mark.parametrize(
    ("remote", "page"),
    [
        ("https://example.org/group/name.git", "https://example.org/group/name"),
        ("https://example.org/group/name/\n", "https://example.org/group/name"),
        ("https://someone:secret@example.org/name", "https://example.org/name"),
        ("git@example.org:group/name.git", "https://example.org/group/name"),
        ("ssh://git@example.org:2222/group/name.git", "https://example.org/group/name"),
        ("ssh://git@example.org/group/name", "https://example.org/group/name"),
        ("/somewhere/here", ""),
        ("../here", ""),
        ("file:///somewhere/here", ""),
        ("http://localhost/name", ""),
        ("", ""),
    ],
)
def test_an_address_leads_to_a_page_and_carries_no_secret(remote: str, page: str) -> None:
    assert repository.page_of(remote) == page


def test_a_clone_knows_its_address_and_a_plain_folder_has_none(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    git("init")
    assert repository.page(tmp_path) == ""
    git("remote", "add", "origin", "git@example.org:group/name.git")
    assert repository.page(tmp_path) == "https://example.org/group/name"


@pytest.mark.parametrize("address", ["https://example.org/name", ""])
def test_the_role_is_a_link_where_there_is_an_address_and_its_words_where_there_is_none(address: str) -> None:
    config = SimpleNamespace(html_theme_options={"repository_url": address})
    settings = SimpleNamespace(env=SimpleNamespace(config=config))
    inliner: Any = SimpleNamespace(document=SimpleNamespace(settings=settings))
    (node,), errors = repository.linked("repository", "", "the repository", 1, inliner)
    assert (node.astext(), errors) == ("the repository", [])
    assert (node.get("refuri") if address else None) == (address or None)


@pytest.mark.parametrize(
    ("host", "folder"), [("github.com", "blob"), ("gitlab.com", "-/blob"), ("bitbucket.org", "src"), ("a.org", "blob")]
)
def test_a_file_stands_where_its_host_shows_it(host: str, folder: str) -> None:
    assert repository.file_of(f"https://{host}/g/n", "Makefile") == f"https://{host}/g/n/{folder}/HEAD/Makefile"


@pytest.mark.parametrize(
    ("host", "button"), [("github.com", True), ("gitlab.example.org", True), ("example.org", False)]
)
def test_a_host_for_which_the_theme_has_no_sign_has_no_button(
    host: str, button: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The theme stops the build where it is asked for a button that it cannot draw."""
    monkeypatch.setattr(repository, "page", lambda folder: f"https://{host}/group/name")
    config = SimpleNamespace(html_theme_options={})
    repository.tell(SimpleNamespace(srcdir="."), config)
    assert config.html_theme_options["repository_url"] == f"https://{host}/group/name"
    assert config.html_theme_options["use_repository_button"] == button
    assert config.html_theme_options["repository_provider"] in ("github", "gitlab")


@pytest.mark.parametrize("address", ["https://example.org/name", ""])
def test_the_role_leads_to_a_file_by_its_path(address: str) -> None:
    config = SimpleNamespace(html_theme_options={"repository_url": address})
    inliner: Any = SimpleNamespace(
        document=SimpleNamespace(settings=SimpleNamespace(env=SimpleNamespace(config=config)))
    )
    (node,), _ = repository.linked("repository", "", "the rules <docs/RULES.md>", 1, inliner)
    assert node.astext() == "the rules"
    assert (node.get("refuri") if address else None) == (f"{address}/blob/HEAD/docs/RULES.md" if address else None)


def test_commands_begin_where_the_reader_stands() -> None:
    known = repository.commands("https://example.org/group/name", "pip install .")
    assert known.splitlines() == ["git clone https://example.org/group/name.git", "cd name", "pip install ."]
    first, *rest = repository.commands("", "pip install .\nmake models").splitlines()
    assert first.startswith("cd ")
    assert "git" not in first
    assert rest == ["pip install .", "make models"]
