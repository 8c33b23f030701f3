"""Which nodes of a cluster to avoid: those on which run after run fails while others do well elsewhere."""

import re
from collections import defaultdict

from trainers.spec import RunResult

# What a broken GPU, driver or link makes runs say; a run's own mistake sounds otherwise.
_HARDWARE = re.compile(
    r"CUDA error: (?!device-side assert|an illegal|out of memory)|uncorrectable ECC|no CUDA-capable device|CUDA driver|"
    r"CUDA-capable device\(s\) is/are busy|CUDA unknown error|NCCL error|Bus error|Input/output error|Stale file handle"
)


def hardware(result: RunResult) -> bool:
    """Whether the error is the machine's rather than the run's."""
    return result.status == "failed" and _HARDWARE.search(result.error or "") is not None


class NodeWatch:
    """Counts what ends how on which node."""

    def __init__(self, bad_after: int | None) -> None:
        self._bad_after = bad_after
        # Runs that failed in a row on each node.
        self._streaks: dict[str, set[str]] = defaultdict(set)
        # How many results there were by then: when each streak began, and when each node last did well.
        self._count = 0
        self._began: dict[str, int] = {}
        self._did_well: dict[str, int] = {}
        self.bad: set[str] = set()

    def note(self, node: str, result: RunResult) -> bool:
        """Whether the node has just become one to avoid."""
        if not node or self._bad_after is None or result.status == "cancelled":
            return False
        self._count += 1
        if result.final:
            self._streaks.pop(node, None)
            self._did_well[node] = self._count
            return False
        if result.cause in ("time_limit", "preempted", "out_of_memory", "disk_full", "busy"):
            return False
        streak = self._streaks[node]
        if not streak:
            self._began[node] = self._count
        streak.add(result.run_id)
        # Meanwhile: what fails for its own sake, as by a value that the sweep has come to, fails everywhere.
        elsewhere = any(when > self._began[node] for other, when in self._did_well.items() if other != node)
        if node in self.bad or len(streak) < self._bad_after or not elsewhere:
            return False
        self.bad.add(node)
        return True
