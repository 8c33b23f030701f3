"""The setting of the tests of references."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.trainers.reference_setting import Setting


@pytest.fixture
def here(tmp_path: Path, cache_dir: Path) -> "Setting":
    # Not above: it loads torch, which many tests of this folder do without.
    from tests.trainers.reference_setting import Setting

    return Setting(tmp_path, cache_dir)
