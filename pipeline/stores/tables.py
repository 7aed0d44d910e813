"""Stores as tables and trees for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from pipeline.table_style import new_table

_ARRAY_COLUMNS = ("shape", "dtype", "chunk", "read at once", "codec", "size", "done")
_SECTION_NAMES = {"label_skeleton": "labels", "plan_hash": "row plan", "spec": "layout"}


def size_text(size_bytes: float) -> str:
    """Return e.g. `1.40 GB`, `16.8 MB`, `2.1 kB`."""
    if size_bytes >= 1e8:
        return f"{size_bytes / 1e9:.2f} GB"
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def stores_table(stores: Sequence[Mapping[str, Any]]) -> Table:
    """Return one line per store; those that cannot be read are red and say why."""
    table = new_table(
        "store", "views", "dtype", "codec", numbers=("rows", "done", "size"), title="stores"
    )
    table.add_column("")
    for store in stores:
        if store["problem"]:
            table.add_row(
                store["path"], *["-"] * 6, store["problem"].partition("\n")[0], style="red"
            )
            continue
        table.add_row(
            store["path"],
            str(store["num_views"]),
            store["dtype"],
            store["codec"],
            f"{store['num_rows']:,}",
            share_text(store["num_rows_done"], store["num_rows"]),
            size_text(store["size_bytes"]),
            "complete" if store["complete"] else "not complete",
        )
    return table


def store_facts(store: Mapping[str, Any]) -> Tree:
    """Return what is in a store, in a few lines."""
    rows, done = store["num_rows"], store["num_rows_done"]
    state = "complete" if store["complete"] else f"{share_text(done, rows)} done, not complete"
    tree = Tree(Text(f"{store['path']}: {rows:,} rows, {state}", style="bold"))
    facts = Table.grid(padding=(0, 2))
    facts.add_row("size", f"{size_text(store['size_bytes'])}, {store['dtype']}, {store['codec']}")
    facts.add_row("views", ", ".join(store["views"]))
    keypoints = (f"{source} {skeleton}" for source, skeleton in store["keypoints"].items())
    facts.add_row("keypoints", ", ".join(keypoints))
    labels = "2D and 3D" if store["has_3d_labels"] else "no 3D"
    facts.add_row("labels", f"{store['label_skeleton']}, {labels}")
    for note in store["notes"]:
        facts.add_row("note", note)
    levels = (f"{name} {'x'.join(map(str, shape))}" for name, shape in store["levels"].items())
    facts.add_row("levels", f"{', '.join(levels)} (HxWxC)")
    if (points := store["points"]) is not None:
        facts.add_row(
            "points",
            f"a point cache: the maps at the {points['skeleton']} joints of"
            f" {points['keypoint_source']} keypoints, rule {points['reference_rule']}",
        )
    facts.add_row("chunks", f"{store['shard_rows']} rows of work; {_reading(store)}")
    facts.add_row("splits", counts_text(store["rows_by_split"]))
    facts.add_row("status", counts_text(store["rows_by_status"]))
    for row, item, reason in store["bad_frames"]["first"]:
        facts.add_row(f"  {reason}", f"row {row}: {item}")
    if store["bad_frames"]["count"] > len(store["bad_frames"]["first"]):
        facts.add_row("", "... all of them: the .bad-frames.csv beside the store")
    for name, scale in store["scales"].items():
        facts.add_row(f"scale {name}", f"{scale['min']:.3g} .. {scale['max']:.3g} per channel")
    tree.add(facts)
    return tree


def store_tree(store: Mapping[str, Any]) -> Tree:
    """Return what is in a store: facts, arrays and the two identities."""
    tree = store_facts(store)
    tree.add(_arrays_tree(store["arrays"]))
    for kind in ("feature_identity", "content_identity"):
        table = Table.grid(padding=(0, 2))
        for key, value in store[kind].items():
            table.add_row(key, _brief(value))
        tree.add(Text(kind.replace("_", " "))).add(table)
    return tree


def verify_report(report: Mapping[str, Any]) -> Group:
    """Return the verdict on a store, one line per problem, and what to do about them."""
    count = len(report["problems"])
    verdict = "whole" if report["ok"] else f"{count} problem{'' if count == 1 else 's'}"
    if report["missing_chunks"]:
        verdict += f", {len(report['missing_chunks'])} chunks missing"
    what = " (quick: of the maps, only the indexes were read)" if report["quick"] else ""
    counts = f"{report['num_rows']:,} rows, {report['num_chunks']} chunks"
    parts: list[Any] = [f"{report['path']}: {verdict}; {counts}{what}"]
    table = new_table("chunk", "array", "rows", "reason", title="problems")
    for problem in report["problems"]:
        chunk = "-" if problem["chunk"] is None else str(problem["chunk"])
        first, last = problem["rows"]
        table.add_row(chunk, problem["array"], f"{first} .. {last}", problem["reason"])
    return Group(*parts, *([table] if count else []), *_advice(report))


def difference_report(found: Mapping[str, Any]) -> Group:
    """Return in what two stores differ, by section, with both values, and what that means."""
    parts: list[Any] = [f"A = {found['a']}", f"B = {found['b']}"]
    if found["keys"]:
        parts.append(_keys_table(found["keys"]))
    else:
        parts.append("Identities, row plan and layout are equal.")
    if found["values"]:
        parts.append(_values_table(found["values"], found["num_rows"]))
    elif found["not_comparable"]:
        parts.append(f"Numbers not compared: {found['not_comparable']}.")
    elif found["values"] is None:
        parts.append("Numbers not compared: --values reads them.")
    else:
        parts.append("All numbers are equal.")
    joinable = "can" if found["joinable"] else "cannot"
    return Group(*parts, f"One reader {joinable} read both as one.")


def recode_report(result: Mapping[str, Any]) -> Group:
    """Return what recoding cost, by level, what it saved, and how to go on."""
    parts: list[Any] = []
    if result["is_exact"]:
        parts.append("Every value is what it was.")
    else:
        parts.append(_errors_table(result["errors"]))
    before, after = result["source_bytes"], result["target_bytes"]
    parts.append(
        f"{result['target']}: {size_text(before)} became {size_text(after)} "
        f"({100 * after / before:.0f} %)."
    )
    parts.append(
        f"{result['chunks_written']} of {result['num_chunks']} chunks written in "
        f"{result['seconds']:.1f} s ({result['bytes_per_s'] / 1e6:.0f} MB/s of maps), all of them "
        "read back and compared."
    )
    parts.append(f"Train from it: posecache lift --set store={result['target']}")
    return Group(*parts)


def counts_text(counts: Mapping[str, int]) -> str:
    """Return e.g. `train 120, test 40`."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"


def share_text(done: int, of: int) -> str:
    """Return e.g. `97 %`; 100 % only if nothing is left."""
    return "100 %" if done >= of else f"{min(100 * done / of, 99.9):.3g} %"


def _keys_table(keys: Sequence[Mapping[str, str]]) -> Table:
    table = new_table("section", "key", "A", "B", title="what differs")
    last = None
    for each in keys:
        section = _SECTION_NAMES.get(each["section"], each["section"].replace("_", " "))
        key = "-" if each["key"] == each["section"] else each["key"]
        table.add_row("" if section == last else section, key, each["a"], each["b"])
        last = section
    return table


def _values_table(values: Mapping[str, Mapping[str, Any]], num_rows: int) -> Table:
    table = new_table("array", numbers=("largest difference", "rows"), title="numbers that differ")
    for name, found in values.items():
        largest = "not finite" if found["max_abs"] is None else f"{found['max_abs']:.4g}"
        table.add_row(name, largest, f"{found['num_rows']:,} of {num_rows:,}")
    return table


def _errors_table(errors: Mapping[str, Mapping[str, Any]]) -> Table:
    table = new_table(
        "level",
        numbers=("largest error", "RMSE", "relative RMSE", "SQNR", "worst channel"),
        title="what was lost",
    )
    for level, error in errors.items():
        sqnr = "exact" if error["sqnr_db"] is None else f"{error['sqnr_db']:.1f} dB"
        worst = f"{error['worst_channel']}: {100 * error['worst_relative_rms']:.2f} %"
        table.add_row(
            level,
            f"{error['max_abs']:.4g}",
            f"{error['rms']:.4g}",
            f"{100 * error['relative_rms']:.3f} %",
            sqnr,
            worst,
        )
    return table


def _reading(store: Mapping[str, Any]) -> str:
    if store["codec"] == "raw":
        return "maps are read one by one"
    return f"{store['inner_rows']} rows of maps are read together"


def _arrays_tree(arrays: Sequence[Mapping[str, Any]]) -> Tree:
    """Arrays below their groups. Columns are as wide in every group, so that they can be read."""
    rows = [_array_cells(array) for array in arrays]
    widths = [max(map(len, column)) for column in zip(_ARRAY_COLUMNS, *rows, strict=True)]
    names = [array["path"].rpartition("/") for array in arrays]
    # A branch of the tree is four columns deep, and names begin one or two branches deep.
    name_width = max(len(name) + (8 if group else 4) for group, _, name in names)

    def line(name: str, cells: Sequence[str], depth: int) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        return "  ".join([name.ljust(name_width - 4 * depth), *padded]).rstrip()

    tree = Tree(Text(line("arrays", _ARRAY_COLUMNS, 0), style="dim"))
    groups: dict[str, Tree] = {}
    for (group, _, name), array, cells in zip(names, arrays, rows, strict=True):
        if group and group not in groups:
            groups[group] = tree.add(group)
        style = "" if array["num_objects"] >= array["planned_objects"] else "yellow"
        parent, depth = (groups[group], 2) if group else (tree, 1)
        parent.add(Text(line(name, cells, depth), style=style))
    return tree


def _array_cells(array: Mapping[str, Any]) -> list[str]:
    inner = array["inner_shape"]
    return [
        _shape(array["shape"]),
        array["dtype"],
        _shape(array["chunk_shape"]),
        "-" if inner == array["chunk_shape"] else _shape(inner),
        array["codec"],
        size_text(array["size_bytes"]),
        share_text(array["num_objects"], array["planned_objects"]),
    ]


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _advice(report: Mapping[str, Any]) -> list[str]:
    lines = []
    if report["invalid_by_reason"]:
        lines.append(f"frames marked invalid: {counts_text(report['invalid_by_reason'])}")
    if any(problem["chunk"] is None for problem in report["problems"]):
        lines.append(
            "The plan or the metadata are damaged, which no chunk can mend: delete the store and "
            "extract it anew."
        )
    elif report["damaged_chunks"]:
        numbers = ", ".join(map(str, report["damaged_chunks"][:8]))
        more = ", ..." if len(report["damaged_chunks"]) > 8 else ""
        lines.append(
            f"Damaged chunks: {numbers}{more}. To extract just these again: the command that made "
            "the store, with --repair (posecache extract ... --repair)."
        )
    if report["missing_chunks"]:
        lines.append("Missing chunks are extracted by the command that made the store.")
    return lines


def _brief(value: Any, limit: int = 100) -> str:
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
