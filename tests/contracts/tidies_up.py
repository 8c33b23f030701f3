"""A module that removes, when its process exits, a folder that it made when imported."""

import os
import tempfile

KEPT = tempfile.TemporaryDirectory()
# Runs are told by what they inherit.
os.environ["KEPT_FOLDER"] = KEPT.name
