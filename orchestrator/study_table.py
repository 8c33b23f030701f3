"""The table of a study as its record says: its objective, the columns that were asked for, published numbers beside."""

from collections.abc import Collection, Mapping, Sequence

from orchestrator.errors import BadCommand
from orchestrator.objective import Objective
from orchestrator.published import NOTHING, published
from orchestrator.settings import StudySettings
from orchestrator.store import StudyRecord
from orchestrator.table import Table, make_table
from trainers.spec import RunResult, RunSpec


def study_table(
    record: StudyRecord,
    settings: StudySettings,
    runs: Mapping[int, Sequence[RunSpec]],
    results: Mapping[str, RunResult],
    running: Collection[str],
) -> Table:
    """Rows are trials; `running` are the ids of runs under way."""
    objective = Objective.of(settings.objective.directions)
    try:
        beside = published(settings.table.published)
    except BadCommand:
        beside = NOTHING  # it was there when the study was made; what was measured is shown all the same
    shown = settings.table.metrics
    return make_table(runs, results, list(record.space), objective, running, metrics=shown, beside=beside)
