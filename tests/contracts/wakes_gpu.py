"""A module whose import uses the GPU, as far as a process without one can tell."""

import sys
from types import ModuleType, SimpleNamespace

_torch = ModuleType("torch")
_torch.cuda = SimpleNamespace(is_initialized=lambda: True)  # type: ignore[attr-defined]
sys.modules["torch"] = _torch
