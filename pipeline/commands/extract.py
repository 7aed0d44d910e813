"""`posecache extract`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.config import load_config
from pipeline.console import console, print_json
from pipeline.errors import ConfigError
from pipeline.extraction.extracted import ensure_store
from pipeline.stores.facts import describe_store
from pipeline.stores.tables import store_facts
from stages.extract.extraction import ChunkPart


def run_extract(
    preset: str,
    *,
    dataset: str | None,
    detector: str | None,
    device: str | None,
    sets: Sequence[str],
    part: str | None = None,
    repair: bool = False,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the store, or go on where it was stopped, and print what is in it."""
    config = load_config(preset, dataset=dataset, detector=detector, device=device, sets=sets)
    if config.store is not None:
        raise ConfigError(
            "store: names a finished store for lift and evaluate; extract writes below data_root."
        )
    screen = console(quiet=as_json)
    state = ensure_store(
        config,
        screen,
        dry_run=dry_run,
        trust_complete=False,
        part=None if part is None else parse_part(part),
        repair=repair,
    )
    if not state.complete:
        if as_json:
            plan = {} if state.plan is None else state.plan.as_json()
            print_json({"path": state.location, "complete": False, **plan})
        return
    description = describe_store(state.location)
    if as_json:
        print_json({**description, "seconds": dict(state.seconds)})
        return
    screen.print(store_facts(description))


def parse_part(text: str) -> ChunkPart:
    """Return the part that `i/n` names; raises ConfigError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None:
        raise ConfigError(f"--part {text}: expected i/n, e.g. 1/8.")
    try:
        return ChunkPart(int(match[1]), int(match[2]))
    except ValueError as error:
        raise ConfigError(f"--part {text}: {error}.") from None
