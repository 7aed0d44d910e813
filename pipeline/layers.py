"""The files and options that a configuration is made of, lowest first, each with its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import settings
from pipeline.settings import Tree

DEFAULT = "default"
_KEPT_OF_PRESET = frozenset({"seeds", "workers"})
_WITH_DEVICE = ("detector", "detector_training", "train", "evaluate")


@dataclass(frozen=True)
class Layer:
    """Settings of one origin, which go on top of those of the layers before."""

    origin: str
    """What a person would change: e.g. `preset paper`, `dataset human36m`, `--set`."""
    tree: Tree
    replaces: str | None = None
    """Dotted key whose value, also when it is a mapping, replaces the one below instead of being
    merged with it: so does `--set`."""


def config_layers(
    preset: str,
    *,
    dataset: str | None = None,
    detector: str | None = None,
    lifter: str | None = None,
    ladder: str | None = None,
    device: str | None = None,
    sets: Sequence[str] = (),
) -> list[Layer]:
    """Return the layers of detector, dataset, presets, ladder and options, lowest first.

    A preset names its dataset, and a dataset its detector, unless the options do. A ladder replaces
    the comparison of the presets, but for seeds and workers.

    Raises:
        ConfigError: a file is not there, or a text is no `key=value`.
    """
    layers = [
        Layer(f"preset {name}", tree) for name, tree in reversed(settings.preset_chain(preset))
    ]
    dataset = _taken(layers, "dataset_file", dataset)
    detector = _taken(layers, "detector_file", detector)
    if dataset is not None:
        layers.insert(0, Layer(f"dataset {dataset}", settings.read_shipped("datasets", dataset)))
        detector = _taken(layers[:1], "detector_file", detector)
    if detector is not None:
        tree = settings.read_shipped("detectors", detector)
        layers.insert(0, Layer(f"detector {detector}", tree))
    if ladder is not None:
        for layer in layers:
            _keep_of_comparison(layer.tree)
        layers.append(Layer(f"ladder {ladder}", settings.read_shipped("ladders", ladder)))
    if lifter is not None:
        layers.append(Layer("option --lifter", {"lifter": {"name": lifter}}))
    if device is not None:
        layers.append(
            Layer("option --device", {owner: {"device": device} for owner in _WITH_DEVICE})
        )
    for text in sets:
        key, value = settings.parse_set(text)
        layers.append(Layer("--set", settings.assign({}, key, value), replaces=key))
    return layers


def merged(layers: Sequence[Layer]) -> Tree:
    """Return the settings of all layers."""
    tree: Tree = {}
    for layer in layers:
        if layer.replaces is not None:
            tree = settings.assign(tree, layer.replaces, None)
        tree = settings.merge(tree, layer.tree)
    return tree


def origins(tree: Mapping[str, Any], layers: Sequence[Layer]) -> dict[str, str]:
    """Return where every value of a resolved tree comes from: dotted key to origin.

    Keys are those of the tree's leaves: whatever is no mapping, and empty mappings. What no layer
    names is `default`.
    """
    return {".".join(path): _origin(path, layers) for path, _ in leaves(tree)}


def leaves(
    tree: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield path and value of everything in a tree that is no mapping, or an empty one."""
    for key, value in tree.items():
        path = (*above, str(key))
        if isinstance(value, Mapping) and value:
            yield from leaves(value, path)
        else:
            yield path, value


def _origin(path: Sequence[str], layers: Sequence[Layer]) -> str:
    for layer in reversed(layers):
        if _names(layer.tree, path):
            return layer.origin
        replaced = [] if layer.replaces is None else layer.replaces.split(".")
        if replaced and list(path[: len(replaced)]) == replaced:
            return DEFAULT
    return DEFAULT


def _names(tree: Mapping[str, Any], path: Sequence[str]) -> bool:
    """Return whether a tree decides what is at `path`."""
    found: Any = tree
    for key in path:
        # Keys of YAML may be numbers; those of JSON, which a resolved tree has, are texts.
        texts = {str(name): value for name, value in found.items()}
        if key not in texts:
            return False
        found = texts[key]
        if not isinstance(found, Mapping):
            return True
    return True


def _taken(layers: Sequence[Layer], key: str, chosen: str | None) -> str | None:
    """Remove `key` from all layers; return what is chosen, else the value of the topmost."""
    found = [layer.tree.pop(key, None) for layer in layers]
    named = [str(value) for value in found if value]
    return named[-1] if chosen is None and named else chosen


def _keep_of_comparison(tree: Tree) -> None:
    if isinstance(tree.get("comparison"), Mapping):
        kept = _KEPT_OF_PRESET & tree["comparison"].keys()
        tree["comparison"] = {key: tree["comparison"][key] for key in kept}
