"""What all tests share: a cache for the built-in world, and an environment without the outside world."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Before any test module imports a library that reads them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "PREFSWEEP_CACHE"):
    os.environ.pop(name, None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of one xdist_group go to one process, and what they share is set up once.

    xdist 3.8 means to say so itself, in a field of the items that pytest 9.2 does not look at any more.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        group = "@" + "_".join(sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")}))
        if group != "@" and not item.nodeid.endswith(group):
            item._id = type(item._id).parse(item.nodeid + group)  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all test processes: what is in it is keyed by its content, and built once."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / "prefsweep-cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY
