"""Plain trees of settings: YAML files, `a.b=value` texts, merging, readable validation errors."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.errors import ConfigError

Tree = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)

CONFIGS = Path(__file__).with_name("configs")


def read_yaml(path: Path) -> Tree:
    """Return the mapping in the YAML file at `path`."""
    try:
        tree = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror or error}). Correct the path."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text file, so no YAML. Give a .yaml file.") from error
    except YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise ConfigError(
            f"{path}{where}: not valid YAML ({problem or error}). Correct it there or just before."
        ) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path}: the top level must be a mapping, not {type(tree).__name__}. "
            "Write settings as 'key: value'."
        )
    return tree


def shipped(kind: str) -> tuple[str, ...]:
    """Return the names of the shipped files of one kind: `presets`, `datasets` or `detectors`."""
    return tuple(sorted(path.stem for path in (CONFIGS / kind).glob("*.yaml")))


def read_shipped(kind: str, name: str) -> Tree:
    """Return the tree of a shipped file, or of the YAML file that `name` is the path of."""
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name))
    if name not in shipped(kind):
        known = shipped(kind)
        raise ConfigError(
            f"There is no {kind[:-1]} {name!r}{did_you_mean(name, known)} "
            f"Known: {', '.join(known)}; or give the path of a .yaml file."
        )
    return read_yaml(CONFIGS / kind / f"{name}.yaml")


def preset_chain(name: str) -> list[tuple[str, Tree]]:
    """Return a preset and those that it `extends`, each with its name and its own settings.

    Raises:
        ConfigError: one is not there, or they extend each other in a circle.
    """
    chain: list[tuple[str, Tree]] = []
    above: str | None = name
    while above is not None:
        known = [one for one, _ in chain]
        if above in known:
            raise ConfigError(f"Presets extend each other: {' -> '.join([*known, above])}.")
        tree = read_shipped("presets", above)
        below = tree.pop("extends", None)
        chain.append((above, tree))
        above = None if below is None else str(below)
    return chain


def parse_set(text: str) -> tuple[str, Any]:
    """Return the dotted key and the value of one `key=value`; the value is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r}: expected key=value, e.g. --set train.epochs=20.")
    try:
        parsed = YAML(typ="safe", pure=True).load(value) if value.strip() else None
    except YAMLError as error:
        raise ConfigError(f"--set {text!r}: the value is not valid YAML.") from error
    return key.strip(), parsed


def assign(tree: Mapping[str, Any], key: str, value: Any) -> Tree:
    """Return a copy of `tree` in which the dotted `key` is `value`."""
    head, _, rest = key.partition(".")
    result = dict(tree)
    if rest:
        inner = result.get(head)
        result[head] = assign(inner if isinstance(inner, Mapping) else {}, rest, value)
    else:
        result[head] = deepcopy(value)
    return result


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Return `base` with `over` on top; mappings are merged, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[key] = merge(below, value) if both else deepcopy(value)  # type: ignore[arg-type]
    return result


def validate(model: type[Model], tree: Mapping[str, Any]) -> Model:
    """Return `tree` as a `model`; raises one ConfigError that lists every wrong key."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = sorted(_describe(model, item) for item in error.errors(include_url=False))
        count = f"{len(lines)} wrong setting{'s' if len(lines) > 1 else ''}"
        raise ConfigError(f"{count}:\n" + "\n".join(f"  {line}" for line in lines)) from None


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return how a sentence on an unknown name ends: `; did you mean 'x'?`, or `.`."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "."


def dotted_keys(model: type[BaseModel], prefix: str = "") -> tuple[str, ...]:
    """Return every dotted key of `model`, nested models included."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        for inner in _models_in(field.annotation):
            keys.extend(dotted_keys(inner, f"{prefix}{name}."))
    return tuple(keys)


def _describe(model: type[BaseModel], item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        own = (
            ""
            if "." in key
            else "; a preset of your own that begins with 'extends: default' has it"
        )
        return f"{key}: must be set{own}"
    if item["type"] == "model_type":
        inner = next((name for name in dotted_keys(model) if name.startswith(f"{key}.")), key)
        return f"{key}: holds settings, such as {inner}, and is no value (got {item['input']!r})"
    if item["type"] != "extra_forbidden":
        said = item["msg"].removeprefix("Value error, ")
        # Of a rule about several keys the input is all of them, which the rule names itself.
        return f"{key}: {said}" + ("" if _is_tree(item) else f" (got {item['input']!r})")
    known = dotted_keys(model)
    parent, _, leaf = key.rpartition(".")
    siblings = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == parent]
    close = difflib.get_close_matches(leaf, siblings, n=1, cutoff=0.5)
    if close:
        suggestion = f"did you mean '{parent}.{close[0]}'?".replace("'.", "'")
    else:
        elsewhere = [name for name in known if name.rpartition(".")[2] == leaf]
        near = elsewhere or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        suggestion = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(siblings)}"
    return f"{key}: unknown key; {suggestion}"


def _is_tree(item: Any) -> bool:
    return item["type"] == "value_error" and isinstance(item["input"], Mapping)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        for part in typing.get_args(annotation):
            yield from _models_in(part)
