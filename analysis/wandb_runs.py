"""What is asked of a W&B server: runs in pages, whole histories, files; through the client's public API, with patience.

Besides `trainers` this module alone imports W&B, and only when it is asked something.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from analysis.errors import AnalysisError, NoRuns
from analysis.patience import GaveUp, Patience, Refused
from trainers.wandb_key import has_key, host

# Seconds for one answer; the client tries twice within it.
_TIMEOUT_S = 60
RUNS_A_PAGE = 100
# Steps that one request for history spans: as many as hold about so many rows, but never more than the server gives.
_ROWS_A_PAGE, _STEPS_A_PAGE = 1_000, 10_000


class Server:
    """A W&B server, asked with a key; a context, in which the client's own files are out of everybody's way.

    Raises AnalysisError where there is no key, or the server is not there or does not take it.
    """

    def __init__(self, entity: str, patience: Patience) -> None:
        self.address, self._entity, self._patience = host(), entity, patience
        self._name = urlsplit(self.address).netloc.rpartition("@")[2]
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> "Server":
        if not has_key(self.address):
            raise AnalysisError(f"no key for {self._name} (WANDB_BASE_URL): set WANDB_API_KEY, or use `wandb login`")
        self._closing.enter_context(_out_of_the_way())
        try:
            self._api = self._patience.ask(self._begin)
        except AnalysisError as error:
            self._closing.close()
            raise AnalysisError(f"{self._name}: {error}") from None
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.close()

    @contextlib.contextmanager
    def waited_for(self) -> Iterator[None]:
        """While in here answers are waited for; whoever still waits at the end gives up."""
        try:
            yield
        finally:
            self._patience.end()

    def _begin(self) -> Any:
        import wandb

        # The client would go on asking for a quarter of an hour, without a word; once more is enough, the rest is
        # Patience's.
        once = {"retry_max": 1, "retry_wait_min_seconds": 1, "retry_wait_max_seconds": 1}
        quick = {f"x_{kind}_{name}": value for kind in ("graphql", "file_transfer") for name, value in once.items()}
        wandb.setup(wandb.Settings(silent=True, **quick))
        return wandb.Api(timeout=_TIMEOUT_S, overrides={"entity": self._entity, "base_url": self.address})

    def runs(self, project: str, filters: Mapping[str, Any]) -> Iterator[Any]:
        """The client's runs, oldest first, with config and summary.

        Raises NoRuns where there is no such project, AnalysisError where the server does not tell.
        """
        pages = self._api.runs(f"{self._entity}/{project}", dict(filters), per_page=RUNS_A_PAGE, lazy=False)
        at = 0
        while True:
            try:
                run = self._patience.ask(lambda at=at: pages[at])  # type: ignore[misc]
            except IndexError:
                return
            except (GaveUp, Refused) as error:
                if "Could not find project" in str(error):
                    said = "there is no such project, or the key may not read it"
                    raise NoRuns(f"wandb:{self._entity}/{project}: {said}") from None
                raise AnalysisError(
                    f"{self._name} does not list the runs of {self._entity}/{project}: {error}"
                ) from None
            yield run
            at += 1

    def history(self, run: Any) -> list[dict[str, Any]]:
        """Every row that a run has logged. Raises GaveUp or Refused."""
        known = run.history_keys
        last = known.get("lastStep", -1) if isinstance(known, dict) else -1
        if last < 0:
            return []
        steps_a_row = (last + 1) // max(run.historyLineCount or 1, 1)
        width = min(max(_ROWS_A_PAGE, _ROWS_A_PAGE * steps_a_row), _STEPS_A_PAGE)
        # What is still being written is not to be taken from the client's cache.
        return self._patience.ask(lambda: list(run.scan_history(page_size=width, use_cache=run.state != "running")))

    def files(self, run: Any, names: Sequence[str], root: Path) -> None:
        """Download those of a run's files that it has, under `root`. Raises GaveUp or Refused."""
        found = run.files(names=list(names), per_page=len(names))
        for at in range(len(names)):
            try:
                file = self._patience.ask(lambda at=at: found[at])  # type: ignore[misc]
            except IndexError:
                return
            if file.name in names:
                self._patience.ask(lambda file=file: file.download(root=str(root), replace=True)).close()  # type: ignore[misc]


@contextlib.contextmanager
def _out_of_the_way() -> Iterator[None]:
    """The client makes a folder for each run that it hears of: let it do so in a place of its own."""
    before = os.environ.get("WANDB_DIR")
    with tempfile.TemporaryDirectory(prefix="prefsweep-wandb-") as folder:
        os.environ["WANDB_DIR"] = folder
        # Its reports on its own errors would keep us from ending where the server does not answer.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            yield
        finally:
            if before is None:
                del os.environ["WANDB_DIR"]
            else:
                os.environ["WANDB_DIR"] = before
