"""Says of a study that has not ended how far it is, so that missing numbers are not taken for lost ones.

four runs, two of which train -> "the study is under way: 0 of 4 runs completed, 2 running, 2 missing"
"""

from analysis.runs import Runs
from orchestrator.wording import count


def under_way(runs: Runs) -> str | None:
    """A sentence where some run has not ended yet; None where all have."""
    states = runs.frame["status"].value_counts()
    waiting = [f"{states[state]} {state}" for state in ("running", "missing") if state in states]
    if not waiting:
        return None
    subject = "study is" if runs.frame["study"].nunique() == 1 else "studies are"
    # Without a sign of life nobody knows whether a run will come yet.
    state = "under way" if "running" in states else "unfinished"
    done = int(states.get("completed", 0))
    return f"the {subject} {state}: {done} of {count(len(runs), 'run')} completed, {', '.join(waiting)}"
