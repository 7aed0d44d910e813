"""Reads a page as a browser would: elements, tables, data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "input", "br", "img"}


@dataclass
class Element:
    """One element of a page."""

    tag: str
    attributes: dict[str, str]
    parts: list[str | Element] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text inside."""
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)

    def all(self, tag: str, **attributes: str) -> Iterator[Element]:
        """Yields the elements below with this tag and these attributes; `_` stands for `-`."""
        for part in self.parts:
            if isinstance(part, str):
                continue
            wanted = {key.strip("_").replace("_", "-"): value for key, value in attributes.items()}
            if part.tag == tag and wanted.items() <= part.attributes.items():
                yield part
            yield from part.all(tag, **attributes)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("document", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].parts.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].parts.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].parts.append(data)


def read_page(text: str) -> Element:
    """Returns the document; fails where an end tag does not fit."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert len(reader.open) == 1, f"<{reader.open[-1].tag}> is not closed"
    return reader.open[0]


def section(page: Element, name: str) -> Element:
    """Returns the section of that id."""
    (found,) = page.all("section", id=name)
    return found


def data_of(page: Element, name: str) -> Any:
    """Returns the JSON in the script element of that id."""
    (found,) = page.all("script", id=name)
    return json.loads(found.text)


def rows_of(part: Element) -> list[list[str]]:
    """Returns the words of every table row."""
    return [[cell.text for cell in row.all("td")] for row in part.all("tr")]
