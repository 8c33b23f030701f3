"""The product's own command line with a local launcher whose runs do nothing, and whose fork server imports nothing.

python -m benchmarks.noop_study -m 'beta=range(1,1001)' launcher.workers=2
"""

import sys
from typing import Any

from orchestrator import cli, commands
from orchestrator.launchers.local import LocalLauncher


def launcher(settings: Any, _machine: Any) -> LocalLauncher:
    return LocalLauncher(workers=settings.workers, threads=1, target="benchmarks.noop:train", preload=[])


if __name__ == "__main__":
    commands.make_launcher = launcher
    sys.exit(cli.main(sys.argv[1:]))
