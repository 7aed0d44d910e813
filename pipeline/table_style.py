"""How every table for a terminal looks: words to the left, numbers to the right, title above."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table


def new_table(
    *words: str, numbers: Sequence[str] = (), title: str | None = None, notes: str | None = None
) -> Table:
    """Return an empty table; more columns may be added to it.

    Args:
        *words: names of the first columns, whose cells are texts.
        numbers: names of the columns behind them, whose cells are numbers.
        title: line above.
        notes: lines below.
    """
    table = Table(
        title=title,
        title_justify="left",
        caption=notes or None,
        caption_justify="left",
    )
    for name in words:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", overflow="fold")
    return table
