"""Whether a model or data set can be had from the Hugging Face hub or its cache, told within seconds.

`missing("model", "facebook/opt-125m", None)` -> None where it can, else why not: "the hub cannot be reached".
"""

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

Kind = Literal["model", "dataset"]
Answer = TypeVar("Answer")

# Five seconds in all: is the hub there, and has it the repository?
PROBE_S, REPO_S = 2.5, 2.5
UNREACHABLE = "the hub cannot be reached"


def missing(kind: Kind, name: str, revision: str | None) -> str | None:
    """Why the repository cannot be had, or None. Asks the hub at most once a process."""
    return None if cached(kind, name) else _refusal(kind, name, revision)


def cached(kind: Kind, name: str) -> bool:
    """True where the hub's cache, or for data sets that of `datasets`, holds something of it."""
    from huggingface_hub import constants

    snapshots = Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}" / "snapshots"
    if snapshots.is_dir() and any(snapshot.iterdir() for snapshot in snapshots.iterdir()):
        return True
    prepared = Path(constants.HF_HOME) / "datasets" / name.replace("/", "___")
    return kind == "dataset" and (prepared.is_dir() or prepared.with_name(prepared.name.lower()).is_dir())


def cached_file(name: str, revision: str | None, file: str) -> Path | None:
    """A file of a model in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


@functools.cache
def _refusal(kind: Kind, name: str, revision: str | None) -> str | None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    if not _answers():
        return UNREACHABLE
    unreachable: str | None = UNREACHABLE
    return _within(REPO_S, lambda: _ask(kind, name, revision), unreachable)


@functools.cache
def _answers() -> bool:
    """Whether the hub, or its proxy, answers at all: one try for all repositories of a study."""
    from huggingface_hub import constants, get_session

    def ask() -> bool:
        try:
            get_session().head(constants.ENDPOINT, timeout=PROBE_S)
        except Exception:  # of the client, of the proxy, of the certificates: none of them lets a model be had
            return False
        return True

    return _within(PROBE_S, ask, False)


def _ask(kind: Kind, name: str, revision: str | None) -> str | None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=REPO_S)
    except HFValidationError:
        return "that is no hub id"
    except GatedRepoError:
        return "the hub wants its licence accepted there, and a token (hf auth login)"
    except RepositoryNotFoundError:
        return "the hub has none of that name, or it is private (hf auth login)"
    except RevisionNotFoundError:
        return f"the hub has no revision {revision!r} of it"
    except Exception:  # as above
        return UNREACHABLE
    return None


def _within(seconds: float, ask: Callable[[], Answer], otherwise: Answer) -> Answer:
    # In a thread of its own, because no timeout of a request bounds the look-up of the host's name.
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    asking.start()
    asking.join(seconds)
    return answers[0] if answers else otherwise
