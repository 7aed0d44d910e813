"""A sweep as one page for a browser that needs no other file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from pipeline.robustness.degradations import DEGRADATIONS, Variant
from pipeline.robustness.labels import frames_label, lost_note, run_labels
from pipeline.robustness.tables import signed

PAGE_FILE = "robustness.html"
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
img { max-width: 100% } .wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd;
  white-space: nowrap }
th:first-child, td:first-child { text-align: left } p.note { color: #666 }
"""


def page_text(
    result: Mapping[str, Any], grown: Sequence[Mapping[str, Any]], pictures: Sequence[Path]
) -> str:
    """Return the html of a result and what `growth` says of it, with the pictures inside."""
    settings, about = result["settings"], result["about"]
    labels, baseline = run_labels(result), result["baseline"]
    others = [name for name in labels if baseline is not None and name != baseline]
    heads = ["frames", "2D error, px", *labels.values()]
    heads += [f"{labels[name]} − {labels[str(baseline)]}" for name in others]
    errors = [
        [
            frames_label(entry),
            f"{entry['error_2d_px']['mean']:.1f}",
            *(f"{entry['runs'][name]['mpjpe_mm']:.1f}" for name in labels),
            *(signed(entry["differences"].get(name), "difference_mm") for name in others),
        ]
        for entry in result["results"]
        if entry["error_2d_px"]
    ]
    grown_heads = ["frames", *labels.values(), *heads[len(labels) + 2 :]]
    variants = dict.fromkeys(Variant(row["degradation"], row["strength"]) for row in grown)
    by_run = {(row["degradation"], row["strength"], row["run"]): row for row in grown}
    grown_rows = []
    for v in variants:
        of_variant = {name: by_run[v.degradation, v.strength, name] for name in labels}
        cells = [f"{of_variant[name]['growth_mm']:+.1f}" for name in labels]
        cells += [signed(of_variant[name]["minus_baseline"], "difference_mm") for name in others]
        grown_rows.append([v.label, *cells])
    notes = [*about["notes"], *filter(None, [lost_note(result)])]
    names = ", ".join(f"{label}: {name}" for name, label in labels.items())
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Robustness</title>",
        f"<style>{_STYLE}</style><h1>Robustness: {escape(settings['store'])}</h1>",
        f"<p>{settings['num_rows']} frames of {about['num_clips']} clips"
        f" ({escape(', '.join(settings['splits']))}), boxes {escape(about['box_source'])}, median"
        f" height of a person's box {about['median_box_height_px']:.0f} px. {escape(names)}.</p>",
        *(f"<p><img alt='' src='{_uri(path)}'></p>" for path in pictures[:1]),
        "<h2>MPJPE, mm</h2>",
        _table(heads, errors),
        "<h2>Growth of MPJPE over undegraded frames, mm</h2>",
        _table(grown_heads, grown_rows),
        "<p class=note>In brackets: 95 % interval; a star marks one that leaves zero out.</p>",
        *(f"<p class=note>{escape(note)}</p>" for note in notes),
        "<h2>What the degradations look like</h2>",
        *(f"<p><img alt='' src='{_uri(path)}'></p>" for path in pictures[1:]),
        "<h2>Units</h2><ul>",
        *(f"<li>{escape(each.title)}: {escape(each.unit)}</li>" for each in DEGRADATIONS),
        "</ul></html>\n",
    ]
    return "\n".join(parts)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{escape(head)}</th>" for head in heads)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return (
        "<div class=wide><table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>"
    )


def _uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
