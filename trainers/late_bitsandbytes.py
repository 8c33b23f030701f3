"""Imports peft while bitsandbytes is hidden, so that it is imported when a model in 4 bits is loaded, and no sooner.

Importing bitsandbytes wakes the GPU, and a process with an awake GPU cannot fork the runs. Peft imports it for one
function that is not used here; everything else in peft and transformers asks for it when it needs it. Import this
module before anything that imports peft, as transformers' trainer does.
"""

import sys

if "bitsandbytes" not in sys.modules:
    # None in the table of modules is Python's own way to say that a module cannot be imported.
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    try:
        import peft.helpers  # noqa: F401
    finally:
        del sys.modules["bitsandbytes"]
