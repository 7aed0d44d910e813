"""Whether options are those of a dataset's adapter, said in the words of the configuration."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from stages.extract.datasets.base import DatasetError


def refuse_unfit_options(
    name: str, adapter: Callable[..., Any], options: Mapping[str, Any]
) -> None:
    """Raise DatasetError for unknown options, a missing root, or one word where a list belongs.

    Args:
        name: of the dataset, for errors.
        adapter: what the dataset is built with.
        options: its keyword arguments.
    """
    parameters = inspect.signature(adapter).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    for option, value in options.items():
        if option in parameters:
            # A word is a sequence too: of its letters.
            if isinstance(value, str) and "Sequence[" in str(parameters[option].annotation):
                raise DatasetError(
                    f"dataset.options.{option} of {name} must be a list, got {value!r}. "
                    f"Set it like this: --set 'dataset.options.{option}=[{value}]'."
                )
        elif option == "root" and not takes_any:
            raise DatasetError(f"Dataset {name!r} has no folder; leave out dataset.root.")
        elif not takes_any:
            known = [each for each in parameters if each != "root"]
            close = difflib.get_close_matches(option, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise DatasetError(
                f"Dataset {name!r} has no option {option!r}.{hint} "
                f"dataset.options may have: {', '.join(sorted(known))}."
            )
    root = parameters.get("root")
    if root is not None and root.default is root.empty and "root" not in options:
        raise DatasetError(
            f"Dataset {name!r} needs its folder: --set dataset.root=DIR. docs/datasets.md shows "
            "what lies in it."
        )
