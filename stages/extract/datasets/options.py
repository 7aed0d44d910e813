"""Whether options are those of a dataset's adapter, said in the words of the configuration."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from stages.extract.datasets.base import OptionError

_INTEGERS = ("int", "int | None")
_NUMBERS = (*_INTEGERS, "float", "float | None")


def refuse_unfit_options(
    name: str, adapter: Callable[..., Any], options: Mapping[str, Any]
) -> None:
    """Raise OptionError for unknown options, a missing root, or values of another kind.

    Args:
        name: of the dataset, for errors.
        adapter: what the dataset is built with.
        options: its keyword arguments.
    """
    parameters = inspect.signature(adapter).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    for option, value in options.items():
        if option in parameters:
            _refuse_other_numbers(name, option, str(parameters[option].annotation), value)
            # A word is a sequence too: of its letters.
            if isinstance(value, str) and "Sequence[" in str(parameters[option].annotation):
                raise OptionError(
                    f"dataset.options.{option} of {name} must be a list, got {value!r}. "
                    f"Set it like this: --set 'dataset.options.{option}=[{value}]'."
                )
        elif option == "root" and not takes_any:
            raise OptionError(f"Dataset {name!r} has no folder; leave out dataset.root.")
        elif not takes_any:
            known = [each for each in parameters if each != "root"]
            close = difflib.get_close_matches(option, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise OptionError(
                f"Dataset {name!r} has no option {option!r}.{hint} "
                f"dataset.options may have: {', '.join(sorted(known))}."
            )
    root = parameters.get("root")
    if root is not None and root.default is root.empty and "root" not in options:
        raise OptionError(
            f"Dataset {name!r} needs its folder: --set dataset.root=DIR. docs/datasets.md shows "
            "what lies in it."
        )


def _refuse_other_numbers(name: str, option: str, annotation: str, value: Any) -> None:
    if annotation not in _NUMBERS or (value is None and annotation.endswith("None")):
        return
    wanted = int if annotation in _INTEGERS else int | float
    if not isinstance(value, wanted) or isinstance(value, bool):
        kind = "a whole number" if annotation in _INTEGERS else "a number"
        raise OptionError(
            f"dataset.options.{option} of {name} must be {kind}, got {value!r}. "
            f"Set it like this: --set dataset.options.{option}=10."
        )
