"""What pruning has saved: steps that were trained, of those that all runs together would have had.

11 of 24 runs pruned, 412 of 960 steps -> "pruned: 11 of 24 runs; 412 of 960 steps trained (43 %)"
"""

from collections.abc import Mapping, Sequence

from trainers.spec import RunResult, RunSpec


def savings(
    specs: Sequence[RunSpec], results: Mapping[str, RunResult], full: Mapping[str, int], unbegun: int = 0
) -> str | None:
    """None where nothing was pruned.

    `full` is how many steps each run would have taken, by its id; `unbegun` how many runs, on further seeds, were not
    even begun, each taken to be as long as the mean one.
    """
    ended = [spec for spec in specs if spec.run_id in results and spec.run_id in full]
    pruned = sum(results[spec.run_id].status == "pruned" for spec in ended)
    if not ended or not (pruned or unbegun):
        return None
    trained = sum(results[spec.run_id].steps for spec in ended)
    planned = sum(full[spec.run_id] for spec in ended)
    planned += round(unbegun * planned / len(ended))
    more = f", and {unbegun} further seeds not begun" if unbegun else ""
    share = trained / planned if planned else 1.0
    return f"pruned: {pruned} of {len(ended)} runs{more}; {trained} of {planned} steps trained ({share:.0%})"
