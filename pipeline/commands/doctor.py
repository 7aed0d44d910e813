"""`posecache doctor`."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.console import console, print_json
from pipeline.doctor import as_json as findings_as_json
from pipeline.doctor import examine
from pipeline.errors import ConfigError
from pipeline.runs.tables import doctor_table
from pipeline.settings import parse_set


def run_doctor(sets: Sequence[str], *, as_json: bool) -> bool:
    """Print the findings; return whether all is well.

    Takes `data_root` only and reads no configuration: it must work where the rest does not.
    """
    data_root = "data"
    for key, value in map(parse_set, sets):
        if key == "data_root":
            data_root = str(value)
        elif key != "device":
            raise ConfigError(f"doctor reads only data_root, not {key!r}: --set data_root=DIR.")
    findings = examine(data_root)
    report = findings_as_json(findings)
    if as_json:
        print_json(report)
    else:
        screen = console()
        screen.print(doctor_table(findings))
        for finding in findings:
            if finding.repair:
                screen.print(f"{finding.name}: {finding.repair}", style="red", soft_wrap=True)
    return bool(report["ok"])
