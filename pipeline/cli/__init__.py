"""The command line: thin functions over plain ones. Only this package's commands print and exit.

Everything heavy is imported inside the commands, so that `posecache --help` stays fast. Commands
register themselves when their file is imported; the order here is that of the help page.
"""

from __future__ import annotations

import pipeline.cli.beginning
import pipeline.cli.exporting
import pipeline.cli.extracting
import pipeline.cli.lifting
import pipeline.cli.predicting
import pipeline.cli.reporting
import pipeline.cli.robustness
import pipeline.commands.cache_parts
import pipeline.commands.cache_recode
import pipeline.commands.cache_sample
import pipeline.commands.cache_show  # noqa: F401
from pipeline.cli.app import app
from pipeline.cli.entry import main

__all__ = ["app", "main"]
