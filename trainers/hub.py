"""Whether a model or data set can be had from the Hugging Face hub or its cache, told within seconds.

`missing("model", "facebook/opt-125m", None)` -> None where it can, else the reason, such as "the hub cannot be reached".
"""

import functools
import threading
from pathlib import Path
from typing import Literal

Kind = Literal["model", "dataset"]

# For one question to the hub, name resolution included.
TIMEOUT_S = 5.0
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
    # In a thread of its own, because no timeout of a request bounds the look-up of the host's name.
    answers: list[str | None] = []
    asking = threading.Thread(target=lambda: answers.append(_ask(kind, name, revision)), daemon=True)
    asking.start()
    asking.join(TIMEOUT_S)
    return answers[0] if answers else UNREACHABLE


def _ask(kind: Kind, name: str, revision: str | None) -> str | None:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    if not _reachable(constants.ENDPOINT):
        return UNREACHABLE
    try:
        HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=TIMEOUT_S - 1)
    except HFValidationError:
        return "that is no hub id"
    except GatedRepoError:
        return "the hub wants its licence accepted there, and a token (hf auth login)"
    except RepositoryNotFoundError:
        return "the hub has none of that name, or it is private (hf auth login)"
    except RevisionNotFoundError:
        return f"the hub has no revision {revision!r} of it"
    except Exception:  # whatever else fails on the way there
        return UNREACHABLE
    return None


@functools.cache
def _reachable(endpoint: str) -> bool:
    """Whether anything answers there: one try for all repositories of a study."""
    import socket
    from urllib.parse import urlsplit

    url = urlsplit(endpoint)
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname or "", port), timeout=TIMEOUT_S - 2).close()
    except OSError:
        return False
    return True
