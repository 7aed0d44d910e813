"""What is wrong with a command line, in one line: what, the nearest name, an example."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.cli.panels import examples_in
from pipeline.errors import ConfigError

_OTHER_WORDS = {"train": "lift", "fit": "lift", "test": "evaluate", "infer": "predict"}
"""What other tools call these commands."""


class UsageError(ConfigError):
    """The command line names something that is not there, or lacks something."""


def unknown_command(context: Any, name: str) -> UsageError:
    """Return the error of a command that the group of `context` does not have."""
    group, path = context.command, context.command_path
    text = f"There is no command '{path} {name}'"
    if name == "help":
        return UsageError(f"{text}; did you mean '{path} --help'?")
    root = context.find_root()
    wanted = _OTHER_WORDS.get(name, name)
    for words in _paths(root.command):
        if words[-1] == wanted:
            return UsageError(f"{text}; did you mean '{root.command_path} {' '.join(words)}'?")
    near = _near(name, group.commands)
    if near is not None:
        return UsageError(f"{text}; did you mean '{path} {near}'?")
    return UsageError(f"{text}. There are: {', '.join(group.commands)}.")


def as_usage_error(error: Exception) -> Exception:
    """Return the parser's own error as one line of ours; any other error as it is.

    Its classes are told apart by their names, because Typer has had them in several places.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, UsageError) or "UsageError" not in names:
        return error
    context: Any = getattr(error, "ctx", None)
    if "BadOptionUsage" in names:  # it has no context, so no example either
        option = getattr(error, "option_name", "")
        return UsageError(f"{_one_line(str(error)).rstrip('.')}: {option} VALUE.")
    if context is None:
        return UsageError(_one_line(str(error)))
    if "NoSuchOption" in names:
        return UsageError(_no_such_option(context, getattr(error, "option_name", "")))
    example = _example(context)
    if "MissingParameter" in names:
        return UsageError(_missing(context, getattr(error, "param", None)) + example)
    said = _one_line(error.format_message())  # type: ignore[attr-defined]
    said = said.replace("Value error, ", "")  # which pydantic puts before what is wrong
    text = said[:1].lower() + said[1:]
    return UsageError(f"{context.command_path}: {text.rstrip('.')}{example or '.'}")


def _no_such_option(context: Any, name: str) -> str:
    path = context.command_path
    text = f"{path} has no option {name!r}"
    own = _options(context.command)
    root = context.find_root()
    if context is not root and name in _options(root.command):
        words = path.removeprefix(root.command_path).strip()
        return f"{text}: it comes first, {root.command_path} {name} {words} ..."
    if "--set" in own and (key := _setting(name)):
        return f"{text}, but there is a setting: --set {key}=VALUE."
    near = _near(name, own)
    if near is not None:
        return f"{text}; did you mean {near!r}?"
    return f"{text}. It has: {', '.join(own)}."


def _setting(option: str) -> str | None:
    """Return the config key that ends in the name of an option, if it is clear which."""
    from pipeline.config import RunConfig
    from pipeline.settings import dotted_keys

    leaf = option.lstrip("-").replace("-", "_")
    keys = dotted_keys(RunConfig)
    found = [key for key in keys if key == leaf or key.endswith(f".{leaf}")]
    # Of several owners the training comes first: its settings are the ones asked for.
    chosen = [key for key in found if key == f"train.{leaf}"] or found
    return chosen[0] if len(chosen) == 1 else None


def _missing(context: Any, parameter: Any) -> str:
    path = context.command_path
    if parameter is None:
        return f"{path}: something is missing"
    argument = parameter.param_type_name == "argument"
    name = parameter.name.upper() if argument else max(parameter.opts, key=len)
    meaning = (parameter.help or "").strip().rstrip(".")
    return f"{path} needs {name}" + (f": {meaning[:1].lower()}{meaning[1:]}" if meaning else "")


def _example(context: Any) -> str:
    shown = examples_in(context.command.epilog)
    return f"; for example: {shown[0]}" if shown else f"; see {context.command_path} --help."


def _options(command: Any) -> list[str]:
    found = [name for one in command.params if not one.hidden for name in one.opts]
    return [*(name for name in found if name.startswith("--")), "--help"]


def _paths(group: Any) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            for words in _paths(command):
                yield (name, *words)
        else:
            yield (name,)


def _near(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def _one_line(text: str) -> str:
    return " ".join(text.split())
