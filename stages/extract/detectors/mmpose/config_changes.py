"""Changes to an mmpose config as data: dotted paths and their new values."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from stages.extract.detectors.base import DetectorError


def apply_changes(
    config: Any, changes: Mapping[str, Any], class_of: Callable[[str], type | None]
) -> Any:
    """Return a copy of a config in which every dotted path of `changes` has its new value.

    A mapping changes only the keys it has, where there is a mapping already.

    Args:
        config: an mmengine Config, or any mapping of mappings.
        changes: e.g. `{"model.backbone.out_indices": [1, 2, 3, 4]}`.
        class_of: the class that a config's `type` means, or None; its constructor's arguments may
            be set even where the config leaves them out.

    Raises:
        DetectorError: a path that is not in the config.
    """
    changed = deepcopy(config)
    for path, value in changes.items():
        _change(changed, path, value, path, class_of)
    return changed


def _change(
    tree: Any, path: str, value: Any, full_path: str, class_of: Callable[[str], type | None]
) -> None:
    key, _, rest = path.partition(".")
    known = _known_keys(tree, class_of)
    if key not in known or (rest and not isinstance(tree.get(key), Mapping)):
        close = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
        raise DetectorError(
            f"detector.config_changes: the detector's config has no {full_path!r} (known beside "
            f"{key!r}: {', '.join(sorted(known)) or 'nothing'})."
            + (f" Did you mean {close[0]!r}?" if close and close[0] != key else "")
        )
    if rest:
        _change(tree[key], rest, value, full_path, class_of)
    elif isinstance(value, Mapping) and isinstance(tree.get(key), Mapping):
        for inner, inner_value in value.items():
            _change(tree[key], str(inner), inner_value, f"{full_path}.{inner}", class_of)
    else:
        tree[key] = deepcopy(value)


def _known_keys(tree: Mapping[str, Any], class_of: Callable[[str], type | None]) -> set[str]:
    known = {str(key) for key in tree}
    kind = tree.get("type")
    built = class_of(kind) if isinstance(kind, str) else None
    if built is not None:
        known |= {
            name
            for name, parameter in inspect.signature(built).parameters.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }
    return known
