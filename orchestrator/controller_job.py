"""The program of a controller that is a job of the cluster: `resume`, until the study is over or the job's time is.

    python -m orchestrator.controller_job STUDY_DIR

Whatever ended an earlier controller, it takes up what is queued and running, and goes on; and it queues itself again.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator import cli, commands
from orchestrator.errors import OrchestratorError, StudyHeld
from orchestrator.exit_codes import GO_ON_LATER
from orchestrator.launchers.slurm.controller import GRACE_S
from orchestrator.launchers.slurm.place import SlurmPlace

# A lease of a controller that died with its node is believed for a minute.
WAIT_S = 5.0
ENDING = (signal.SIGTERM, signal.SIGUSR2)


def carry_on(resume: Callable[[bool], int], come_back: Callable[[], bool], *, first: bool) -> int:
    """Resume until the study is over, waiting while another controller holds it; the exit code.

    `resume` is told whether failed runs are to be tried once more: a person wants that who starts a controller, and
    nobody where it was queued again.
    """
    while True:
        try:
            code = resume(first)
        except StudyHeld as error:
            print(f"waiting: {error}", flush=True)
            first = False
            time.sleep(WAIT_S)
            continue
        except OrchestratorError as error:
            print(error, file=sys.stderr, flush=True)
            return 2
        if code != GO_ON_LATER:
            return code
        print("told to end before the study is over", flush=True)
        return 0 if come_back() else code


def back_into_queue(place: SlurmPlace) -> bool:
    """Queue this job again, unless Slurm does or somebody cancelled it."""
    why = place.why_signalled(GRACE_S)
    return place.queue_again() if why.come_back else why.cause is not None


def main(root: Path) -> int:
    """Carry the study on."""
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", 0))
    place = SlurmPlace(os.environ["SLURM_JOB_ID"], 0, 0, "", restarts)

    def too_early(*_: object) -> None:
        """Told to end while no study is under way: there is nothing to leave."""
        print("told to end before the study was taken up", flush=True)
        os._exit(0 if back_into_queue(place) else GO_ON_LATER)

    for number in ENDING:
        signal.signal(number, too_early)
    words = ["resume", str(root), "launcher.controller=here", "launcher.detach=false"]
    command = cli.parse(words)
    return carry_on(
        lambda again: commands.resume(command, words, failed_again=again),
        lambda: back_into_queue(place),
        first=restarts == 0,
    )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
