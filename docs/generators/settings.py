"""The page of all configuration keys, from the configuration's schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.config import RunConfig

_INTRODUCTION = """# Settings

Every key of the configuration. Give it in a preset's YAML file or as `--set key=value`; an unknown
key or a wrong value is an error that names all of them. `posecache config show` prints the values
that a command would use, `posecache config schema` this list as JSON schema. `NAME` stands for a
name of your choice, `[]` for each entry of a list.
"""
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


@dataclass(frozen=True)
class Setting:
    """One key."""

    key: str
    kind: str
    default: str
    meaning: str


def page() -> str:
    """Return the page's markdown: a table for each part of the configuration."""
    schema = RunConfig.model_json_schema()
    sections: dict[str, list[Setting]] = {"": []}
    for setting in settings_of(schema, schema):
        section = setting.key.partition(".")[0] if "." in setting.key else ""
        sections.setdefault(section, []).append(setting)
    parts = [_INTRODUCTION]
    for section, rows in sections.items():
        about = _resolved(schema["properties"][section], schema) if section else {}
        title = f"`{section}`" if section else "Places"
        meaning = _text(about.get("description", ""))
        parts.append(f"## {title}\n\n{meaning}\n\n{_table(rows)}\n")
    return "\n".join(parts)


def settings_of(
    node: dict[str, Any], schema: dict[str, Any], prefix: str = ""
) -> Iterator[Setting]:
    """Yield every key below an object of the schema, in order."""
    required = node.get("required", ())
    for name, field in node["properties"].items():
        key, full = prefix + name, _resolved(field, schema)
        inner, suffix = _inner(full, schema)
        if inner is None or suffix or "anyOf" in full:
            default = "required" if name in required else _default(field.get("default"))
            yield Setting(key, kind_of(full, schema), default, _text(full.get("description", "")))
        if inner is not None:
            yield from settings_of(inner, schema, f"{key}{suffix}.")


def kind_of(node: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return what values a key takes, in words."""
    node = _resolved(node, schema)
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(kind_of(one, schema) for one in node["anyOf"]))
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "const" in node:
        return f"`{node['const']}`"
    if node.get("type") == "array":
        if "prefixItems" in node:
            return "[" + ", ".join(kind_of(one, schema) for one in node["prefixItems"]) + "]"
        return f"list of {kind_of(node['items'], schema)}" if node.get("items") else "list"
    if node.get("type") == "object":
        return "settings" if "properties" in node else "map"
    kind = {"null": "`null`", "string": "text"}.get(node.get("type", ""), node.get("type", "any"))
    kind = "path" if node.get("format") == "path" else kind
    bounds = [f"{sign} {node[word]:g}" for word, sign in _BOUNDS.items() if word in node]
    return " ".join([str(kind), *bounds])


def _inner(node: dict[str, Any], schema: dict[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """Return the object that a key holds, and what stands between the key and its keys."""
    for one in node.get("anyOf", [node]):
        found = _resolved(one, schema)
        if "properties" in found:
            return found, ""
        for word, suffix in (("additionalProperties", ".NAME"), ("items", "[]")):
            below = found.get(word)
            if isinstance(below, dict) and "properties" in (deep := _resolved(below, schema)):
                return deep, suffix
    return None, ""


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a node with what it refers to; its own words come first."""
    if "$ref" not in node:
        return node
    target = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return {**target, **{word: value for word, value in node.items() if word != "$ref"}}


def _default(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _text(description: str) -> str:
    return " ".join(description.split()).replace("`None`", "`null`")


def _table(rows: list[Setting]) -> str:
    lines = ["| key | value | default | what |", "|---|---|---|---|"]
    for row in rows:
        meaning = row.meaning.replace("|", "\\|")
        lines.append(f"| `{row.key}` | {row.kind} | {row.default} | {meaning} |")
    return "\n".join(lines)
