"""The one door to runs: study folders, files of `pull`, or W&B, by what a SOURCE on the command line is.

outputs/STUDY    outputs/    runs.parquet    wandb:entity/project[/group]
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from analysis.errors import NoRuns
from analysis.filters import Filters
from analysis.frame import make_frame
from analysis.gather import Asked, Gathered
from analysis.runs import Part, Runs
from analysis.told import Told

WANDB = "wandb:"
PARQUET = ".parquet"


def read(sources: Sequence[str], parts: Collection[Part] = (), filters: Sequence[str] = ()) -> Runs:
    """The runs of all sources in one table, those that meet all of `filters` (key=value).

    Raises NoRuns where there is none, naming the source; BadQuestion where a filter is none, or leaves none.
    """
    told, chosen = Told(), Filters.parse(filters)
    gathered = gather(sources, Asked(parts, chosen.wanted), told, chosen)
    return Runs(make_frame(gathered.rows, parts), told.sentences())


def gather(sources: Sequence[str], asked: Asked, told: Told, filters: Filters) -> Gathered:
    """Rows of all sources, each run once. Raises as `read` does."""
    if not sources:
        raise NoRuns("name a source: the folder of a study, a .parquet that pull has made, or wandb:entity/project")
    gathered = sum((_one(source, asked, told, filters) for source in sources), Gathered()).without_doubles(told)
    if not gathered.rows:
        raise filters.none_left() if filters else NoRuns(f"{', '.join(sources)}: no run that could be read{_why(told)}")
    return gathered


def _one(source: str, asked: Asked, told: Told, filters: Filters) -> Gathered:
    if source.startswith(WANDB):
        from analysis.wandb_rows import gather_wandb

        return gather_wandb(source, asked, told, filters.at_wandb)
    filters.refuse_at_wandb_only(source)
    path = Path(source).expanduser()
    if source.endswith(PARQUET):
        from analysis.parquet import gather_parquet

        return gather_parquet(path, asked, told)
    from analysis.folders import gather_folder

    return gather_folder(path, asked, told)


def _why(told: Told) -> str:
    return "".join(f"\n{sentence}" for sentence in told.sentences())
