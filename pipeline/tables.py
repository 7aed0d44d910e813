"""Results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from pipeline.doctor import Finding

_STYLES = {"ok": "green", "note": "yellow", "bad": "red"}


def doctor_table(findings: Sequence[Finding]) -> Table:
    """Return one line per finding; lines to be mended are red."""
    table = Table("check", "", "value", title="posecache doctor", title_justify="left")
    for finding in findings:
        table.add_row(finding.name, finding.level, finding.value, style=_STYLES[finding.level])
    return table


def spread(values: Sequence[float]) -> str:
    """Return `mean +- standard deviation` over seeds, or the one value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return f"{mean:.1f} ± {variance**0.5:.1f}"


def comparison_table(result: Mapping[str, Any]) -> Table:
    """Return the rows of a comparison: what was fed, and the error on every test split."""
    num_seeds = len(result["seeds"])
    over = f"mean ± s.d. over {num_seeds} seeds" if num_seeds > 1 else "one seed"
    table = Table(title=f"{result['store']}: error in mm ({over})", title_justify="left")
    for name in ("row", "lifter", "context", "keypoints", "features", "box"):
        table.add_column(name)
    for split in result["splits"]:
        table.add_column(f"MPJPE\n{split}", justify="right")
    for split in result["splits"]:
        table.add_column(f"P-MPJPE\n{split}", justify="right")
    table.add_column("parameters", justify="right")
    for row in result["rows"]:
        table.add_row(
            row["name"],
            row["lifter"],
            row["context"],
            row["keypoint_source"],
            row["feature_source"],
            row["box_source"],
            *(spread(row["mpjpe_mm"][split]) for split in result["splits"]),
            *(spread(row["p_mpjpe_mm"][split]) for split in result["splits"]),
            f"{row['num_parameters']:,}",
        )
    return table


def difference_table(result: Mapping[str, Any]) -> Table:
    """Return the per-clip differences of a comparison with their bootstrap intervals."""
    table = Table(
        "difference of MPJPE per clip",
        title="negative: the first is better; 95 % intervals by bootstrap over clips and seeds",
        title_justify="left",
    )
    for split in result["splits"]:
        table.add_column(split, justify="right")
    for difference in result["differences"]:
        cells = []
        for split in result["splits"]:
            found = difference["splits"][split]
            low, high = found["low_mm"], found["high_mm"]
            cells.append(f"{found['mean_mm']:+.1f} mm  [{low:+.1f}, {high:+.1f}]")
        table.add_row(f"{difference['a']} - {difference['b']}", *cells)
    return table


def stores_table(stores: Sequence[Mapping[str, Any]]) -> Table:
    """Return one line per store."""
    table = Table("store", "rows", "complete", "size", "note")
    for store in stores:
        table.add_row(
            store["path"],
            "-" if store["num_rows"] is None else f"{store['num_rows']:,}",
            "yes" if store["complete"] else "no",
            size_text(store["size_bytes"]),
            store["problem"] or "",
        )
    return table


def store_table(store: Mapping[str, Any]) -> Table:
    """Return what is in a store, one property per line."""
    table = Table("", "", title=store["path"], title_justify="left", show_header=False)
    rows = store["num_rows"]
    table.add_row("rows", f"{rows:,}" + ("" if store["complete"] else ", not complete"))
    table.add_row("size", f"{size_text(store['size_bytes'])}, {store['dtype']}")
    table.add_row("views", ", ".join(store["views"]))
    levels = (f"{name} {'x'.join(map(str, shape))}" for name, shape in store["levels"].items())
    table.add_row("levels (HxWxC)", ", ".join(levels))
    table.add_row("joints", f"{store['skeleton']}; {', '.join(store['keypoint_sources'])}")
    table.add_row("splits", _counts(store["rows_by_split"]))
    table.add_row("status", _counts(store["rows_by_status"]))
    for kind in ("feature_identity", "content_identity"):
        for key, value in store[kind].items():
            table.add_row(f"{kind.partition('_')[0]}: {key}", _brief(value))
    return table


def verify_table(report: Mapping[str, Any]) -> Table:
    """Return the verdict on a store, one line per problem."""
    verdict = "whole" if report["ok"] else f"{len(report['problems'])} problems"
    title = f"{report['path']}: {verdict}; {report['num_rows']:,} rows, {report['num_chunks']} chunks"
    table = Table("chunk", "array", "rows", "reason", title=title, title_justify="left")
    for problem in report["problems"]:
        rows = problem["rows"]
        table.add_row(str(problem["chunk"]), problem["array"], _rows(rows), problem["reason"])
    if report["invalid_by_reason"]:
        table.caption = f"frames marked invalid: {_counts(report['invalid_by_reason'])}"
    return table


def size_text(size_bytes: float) -> str:
    """Return e.g. `1.4 GB`."""
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.1f} MB"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"


def _rows(rows: Sequence[int] | None) -> str:
    if not rows:
        return "-"
    return str(rows[0]) if len(rows) == 1 else f"{rows[0]} .. {rows[-1]}"


def _brief(value: Any, limit: int = 100) -> str:
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
