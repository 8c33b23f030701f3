"""The product's own command line with a local launcher whose runs do nothing, and whose fork server imports nothing.

python -m benchmarks.noop_study -m 'beta=range(1,1001)' launcher.workers=2
"""

import sys
from typing import Any


def main() -> int:
    # Imported here: a child of the fork server imports this module again, and a real run's child would not have these.
    from orchestrator.launchers.local import LocalLauncher

    from orchestrator import cli, commands

    def launcher(settings: Any, _machine: Any) -> LocalLauncher:
        return LocalLauncher(workers=settings.workers, threads=1, target="benchmarks.noop:train", preload=[])

    commands.make_launcher = launcher
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
