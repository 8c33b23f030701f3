"""A progress bar on stderr while runs are fetched; nothing where nobody sees it."""

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from analysis.gather import Progress as Watcher
from analysis.gather import Unwatched


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar, self._expected = bar, 0
        self._task = bar.add_task("looking", total=None)

    def expect(self, runs: int) -> None:
        self._expected += runs
        self._bar.update(self._task, total=self._expected, description="fetching runs")

    def done(self) -> None:
        self._bar.update(self._task, advance=1, description="fetching runs")

    def note(self, what: str) -> None:
        self._bar.update(self._task, description=what)


@contextlib.contextmanager
def progress_bar(console: Console | None = None) -> Iterator[Watcher]:
    """Somebody who shows how far it is, in a terminal."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield Unwatched()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar)
