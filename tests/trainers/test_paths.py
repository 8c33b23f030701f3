"""Paths as a config has them."""

from pathlib import Path

import pytest

from trainers.paths import local_path


@pytest.mark.parametrize("path", ["facebook/opt-125m", "pairs.jsonl", "/data/pairs.jsonl", "~nobody-of-that-name/opt"])
def test_other_paths_stay_as_they_are(path):
    assert local_path(path) == Path(path)


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert local_path("~/models/opt") == Path("/home/ada/models/opt")
