"""Which chunks are to try next, and which have failed too often to be tried again."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cache import CacheError
from cache.errors import CacheUnreachable
from stages.extract.datasets.base import DatasetError, FrameError
from stages.extract.detectors.base import DetectorError

TRIES = 3
"""Of a chunk that fails by something that nobody foresaw, e.g. a network disk."""
HOPELESS_TRIES = 8
"""Failed tries in a row after which it is not the chunks that are to blame."""


@dataclass(frozen=True)
class FailedChunk:
    """A chunk that could not be extracted.

    Args:
        chunk: its number.
        rows: its first and its last row.
        error: what its last try raised.
    """

    chunk: int
    rows: tuple[int, int]
    error: Exception

    def __str__(self) -> str:
        first, last = self.rows
        reason = f"{type(self.error).__name__}: {self.error}"
        return f"chunk {self.chunk} (rows {first}-{last}): {reason}"


class ChunksFailed(RuntimeError):
    """Chunks that failed at every try; the others are committed, unless nothing worked any more."""

    def __init__(self, location: str, failed: tuple[FailedChunk, ...], num_left: int) -> None:
        """Name the chunks; `num_left` is what the store lacks of the chunks asked for."""
        listed = "".join(f"\n  {each}" for each in failed)
        rest = num_left - len(failed)
        others = (
            f"Nothing worked any more: {_chunks(rest)} not tried."
            if rest > 0
            else "All other chunks are committed."
        )
        super().__init__(
            f"{location}: {_chunks(len(failed))} failed at every try:{listed}\n{others} Mend the "
            "cause; the same command then extracts only what is missing."
        )
        self.failed = failed


def is_foreseen(error: Exception) -> bool:
    """Whether no other try and no other chunk would escape an error, e.g. a full disk."""
    foreseen = (CacheError, DatasetError, DetectorError, FrameError)
    return isinstance(error, foreseen) and not isinstance(error, CacheUnreachable)


def _chunks(number: int) -> str:
    return "1 chunk" if number == 1 else f"{number} chunks"


class Attempts:
    """The chunks of one call: those waiting, in order, and what the failed ones raised."""

    def __init__(self, chunks: Iterable[int]) -> None:
        self._waiting = deque(chunks)
        self._tries: Counter[int] = Counter()
        self._failed_in_a_row = 0
        self._errors: dict[int, Exception] = {}

    @property
    def waiting(self) -> tuple[int, ...]:
        """Chunks to try, in order; none when so many tries failed in a row that more are vain."""
        return () if self._failed_in_a_row >= HOPELESS_TRIES else tuple(self._waiting)

    def take(self) -> int:
        """Remove and return the next chunk to try."""
        return self._waiting.popleft()

    def succeeded(self, chunk: int) -> None:
        """Note that a chunk is committed."""
        self._failed_in_a_row = 0
        self._errors.pop(chunk, None)

    def failed(self, chunk: int, error: Exception, *, tries: int = 1) -> None:
        """Note failed tries of a chunk; its turn comes again after all others, or never.

        Raises:
            Exception: the error itself, where it is foreseen.
        """
        if is_foreseen(error):
            raise error
        self._failed_in_a_row += 1
        self._tries[chunk] += tries
        self._errors[chunk] = error
        if self._tries[chunk] < TRIES:
            self._waiting.append(chunk)

    def refuse_failures(
        self, location: str, rows_of: Callable[[int], range], num_left: int
    ) -> None:
        """Raise ChunksFailed if a chunk has failed and not succeeded since.

        Args:
            location: of the store.
            rows_of: rows of a chunk.
            num_left: chunks asked for that the store lacks.
        """
        if not self._errors:
            return
        failed = tuple(
            FailedChunk(chunk, (rows_of(chunk)[0], rows_of(chunk)[-1]), error)
            for chunk, error in sorted(self._errors.items())
        )
        raise ChunksFailed(location, failed, num_left) from failed[0].error
