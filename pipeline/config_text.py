"""A configuration as YAML with the origin of every value in a comment."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML

from pipeline.layers import DEFAULT, leaves
from pipeline.settings import Tree

_WIDEST = 64
"""Columns before the comments; longer lines have theirs right behind them."""
_ENDLESS = 1 << 20


def annotated_yaml(tree: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """Return a tree as YAML, each value with its origin behind it, one below the other.

    Args:
        tree: plain values.
        origins: dotted key of every leaf to its origin.
    """
    lines = list(_lines(tree, origins, ()))
    column = max((len(text) for text, _ in lines if len(text) <= _WIDEST), default=0)
    shown = (f"{text:<{column}}  # {origin}" if origin else text for text, origin in lines)
    return "\n".join(shown) + "\n"


def only_changed(tree: Mapping[str, Any], origins: Mapping[str, str]) -> Tree:
    """Return the values of a tree that a file or an option has set."""
    changed: Tree = {}
    for path, value in leaves(tree):
        if origins[".".join(path)] != DEFAULT:
            below = changed
            for key in path[:-1]:
                below = below.setdefault(key, {})
            below[path[-1]] = value
    return changed


def _lines(
    tree: Mapping[str, Any], origins: Mapping[str, str], above: tuple[str, ...]
) -> Iterator[tuple[str, str | None]]:
    """Yield each line and the origin of the value that begins in it."""
    margin = "  " * len(above)
    for key, value in tree.items():
        path = (*above, str(key))
        name = f"{margin}{_inline(str(key))}:"
        if isinstance(value, Mapping) and value:
            yield name, None
            yield from _lines(value, origins, path)
            continue
        origin = origins[".".join(path)]
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield name, origin
            for item in value:
                yield f"{margin}- {_inline(item)}", None
            continue
        yield f"{name} {_inline(value)}", origin


def _inline(value: Any) -> str:
    """Return a value as YAML on one line."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style, yaml.width = True, _ENDLESS
    text = io.StringIO()
    yaml.dump([value], text)
    return text.getvalue().strip().removeprefix("[").removesuffix("]")
