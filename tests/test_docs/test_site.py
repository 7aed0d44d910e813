"""The site builds strictly and without a network; its links lead somewhere."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from docs.generators import commands, included, results, settings
from docs.hooks import generated_pages, linked
from pipeline.config import RunConfig, load_config
from tests.test_docs.pages import DOCS, ROOT, pages

NO_NETWORK = """
import socket, runpy, sys

def refused(*all_, **more):
    raise OSError("the build asked for the network")

socket.socket.connect = socket.getaddrinfo = refused
sys.argv = ["mkdocs", *sys.argv[1:]]
runpy.run_module("mkdocs", run_name="__main__")
"""


class Requests(HTMLParser):
    """What a browser fetches for a page, from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        fetched = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
        address = dict(attrs).get(fetched.get(tag, "")) or ""
        if re.match(r"(\w+:)?//", address):
            self.outside.append(address)


def outside_requests(html: str) -> list[str]:
    parser = Requests()
    parser.feed(html)
    return parser.outside + re.findall(
        r"@import[^;]*//[^;]*;|url\(\s*[\"']?(?:https?:)?//[^)]*", html
    )


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    words = [
        sys.executable,
        "-c",
        NO_NETWORK,
        "build",
        "--strict",
        "-f",
        str(config),
        "-d",
        str(site),
    ]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_site_builds_strictly_without_a_network_and_asks_for_nothing(tmp_path: Path) -> None:
    ended = build(ROOT / "mkdocs.yml", tmp_path / "site")
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = sorted((tmp_path / "site").rglob("*.html"))
    assert len(found) >= len(pages())
    for page in found:
        html = page.read_text("utf-8")
        assert outside_requests(html) == [], page
        # A list that Markdown took for text: a line of it begins with its mark.
        text = re.sub(r"<pre.*?</pre>", "", html, flags=re.S)
        assert not re.search(r"<p>[^<]*\n[-*] ", text), f"{page}: a list needs an empty line before"
    reference = (tmp_path / "site/reference/cache.html").read_text("utf-8")
    assert "shuffled" in reference
    assert 'id="cache.CacheReader.read"' in reference


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("[gone](nowhere.md)", "nowhere.md"),
        ("[gone](datasets.md#no-such-heading)", "no-such-heading"),
        ("::: cache.NoSuchName", "NoSuchName"),
    ],
)
def test_a_page_with_a_dead_link_or_name_does_not_build(
    text: str, seen: str, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# Page\n\n{text}\n")
    (tmp_path / "docs/datasets.md").write_text("# Datasets\n\n## Here\n")
    text = (ROOT / "mkdocs.yml").read_text("utf-8")
    config = text[: text.index("\nnav:")].replace("hooks:\n  - docs/hooks.py\n", "")
    config = config.replace("extra_css:\n  - styles.css\n", "").replace("[.]", f"[{ROOT}]")
    (tmp_path / "mkdocs.yml").write_text(config)
    ended = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert ended.returncode != 0
    assert seen in ended.stderr


def test_requests_to_elsewhere_are_noticed() -> None:
    assert outside_requests('<script src="https://cdn.example/x.js"></script>')
    assert outside_requests('<link rel="stylesheet" href="//fonts.example/css">')
    assert outside_requests("<style>@import 'https://fonts.example/a.css';</style>")
    assert not outside_requests('<a href="https://example.org">x</a><img src="images/a.png">')


def test_git_ignores_what_is_built() -> None:
    assert "/site/" in (ROOT / ".gitignore").read_text().splitlines()
    tree = YAML(typ="safe", pure=True).load((ROOT / "mkdocs.yml").read_text("utf-8"))
    assert tree["site_dir"] == "site"
    assert tree["theme"]["font"] is False


def targets(markdown: str) -> list[str]:
    text = re.sub(r"```.*?```", "", markdown, flags=re.S)
    return re.findall(r"\]\((?!\w+:|#)([^)\s#]+)", text)


def dead_links(page: Path, markdown: str) -> list[str]:
    """Links of a page that lead nowhere: neither to a file, nor to a page that the site makes."""
    made = {DOCS / name for name in generated_pages()}
    place = [(page.parent / target).resolve() for target in targets(markdown)]
    return [str(each) for each in place if not each.exists() and each not in made]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path) -> None:
    assert dead_links(page, page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=str)
def test_links_of_root_pages_do_not_need_the_site(page: Path) -> None:
    assert all((ROOT / target).exists() for target in targets(page.read_text("utf-8")))


def test_a_dead_link_is_noticed() -> None:
    assert dead_links(ROOT / "README.md", "[x](docs/nowhere.md)")
    assert not dead_links(DOCS / "index.md", "[x](results.md), [y](https://example.org)")


def test_links_out_of_docs_become_links_to_pages() -> None:
    page = "tutorial/first-minutes.md"
    assert linked("[x](../../README.md#results)", page) == "[x](../readme.md#results)"
    assert linked("[x](../../LICENSE)", page) == "[x](../../LICENSE)"
    assert included.PAGE_OF["CONTRIBUTING.md"] == "contributing.md"


def test_generated_pages_are_the_same_every_time() -> None:
    assert generated_pages() == generated_pages()


def test_the_navigation_has_every_page_once() -> None:
    tree = YAML(typ="safe", pure=True).load((ROOT / "mkdocs.yml").read_text("utf-8"))

    def leaves(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node]
        below = node.values() if isinstance(node, dict) else node
        return [leaf for each in below for leaf in leaves(each)]

    written = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert sorted(leaves(tree["nav"])) == sorted(written | generated_pages().keys())


def test_the_settings_page_has_every_key_with_its_default() -> None:
    schema = RunConfig.model_json_schema()
    rows = {row.key: row for row in settings.settings_of(schema, schema)}

    def keys(node: Any, prefix: str = "") -> list[str]:
        fixed = getattr(type(node), "model_fields", {})
        below = ((f"{prefix}{name}", getattr(node, name)) for name in fixed)
        return [k for key, value in below for k in keys(value, f"{key}.")] or [prefix[:-1]]

    for key in keys(load_config()):
        assert key in rows, key
        assert rows[key].meaning, f"{key} is not explained"
    assert rows["train.steps"].kind.startswith("integer")
    assert json.loads(rows["crop.flip"].default.strip("`")) is True
    assert rows["detector.taps[].stride"].default == "required"
    assert rows["dataset.keypoints.NAME.file"].kind == "path or `null`"
    assert "`train.steps`" in settings.page()


def test_the_commands_page_has_every_command() -> None:
    page = commands.page()
    for name in ("posecache extract", "posecache cache verify", "posecache config schema"):
        assert f"## `{name}`\n" in page
    assert "--dry-run" in page


def test_the_results_page_has_every_row_with_its_machine() -> None:
    page = results.page()
    for path in sorted(results.RESULTS.glob("*.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert f"## {results.title_of(path)}" in page
        for row in rows:
            assert results.machine_of(row) in page
            assert row["date"] in results.machine_of(row)
            if row["value"]:
                assert f"{float(row['value']):,.4g} {row['unit']}" in page
        count = page.split(f"## {results.title_of(path)}\n")[1].split("\n## ")[0].count("\n| ")
        tables = len({results.machine_of(row) for row in rows})
        assert count == len(rows) + tables
