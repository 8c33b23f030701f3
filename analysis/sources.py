"""The one door to runs: study folders, or what is pulled from elsewhere, by what a SOURCE on the command line is."""

from collections.abc import Collection, Sequence
from pathlib import Path

from analysis.errors import NoRuns
from analysis.folders import read_folders
from analysis.runs import Part, Runs


def read(sources: Sequence[str], parts: Collection[Part] = ()) -> Runs:
    """The runs of all sources in one table.

    Raises NoRuns where there is none, naming the source.
    """
    if not sources:
        raise NoRuns("name a source: the folder of a study, several, or a file that `pull` has made")
    return read_folders([Path(source).expanduser() for source in sources], parts)
