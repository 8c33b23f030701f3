"""The commands `report` and `figures`: from sources to files, each written whole or not at all."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.errors import AnalysisError, BadQuestion
from analysis.report.content import Content
from analysis.report.gather import gather
from analysis.runs import Part
from analysis.sources import read
from trainers.files import write_whole

_PARTS: tuple[Part, ...] = ("history", "pairs", "answers", "tokens")
FORMATS = ("png", "svg", "pdf")


def write_report(
    sources: Sequence[str],
    path: Path,
    metric: str | None = None,
    title: str | None = None,
    filters: Sequence[str] = (),
) -> int:
    """Write the page of these runs; its size in bytes. Raises AnalysisError."""
    from analysis.report.page import render

    if path.is_dir():
        raise BadQuestion(f"-o {path} is a folder: name a file in it, as {path / 'report.html'}")
    page = render(_content(sources, filters, metric, title)).encode("utf-8")
    with _writing(path.parent):
        write_whole(path, page)
    return len(page)


def write_figures(
    sources: Sequence[str],
    folder: Path,
    formats: Sequence[str] = FORMATS,
    metric: str | None = None,
    filters: Sequence[str] = (),
) -> list[Path]:
    """Write each chart in each format; the files in the order in which they were written. Raises AnalysisError."""
    wanted = [each.strip().lower() for each in formats if each.strip()]
    unknown = [each for each in wanted if each not in FORMATS]
    if unknown or not wanted:
        raise BadQuestion(f"--format {','.join(formats)}: no such format as {', '.join(unknown) or 'none'}; "
                          f"there are {', '.join(FORMATS)}")  # fmt: skip
    from analysis.report.figures import draw

    written = []
    content = _content(sources, filters, metric, None)
    with _writing(folder):
        for name, images in draw(content, wanted):
            for suffix, image in images.items():
                path = folder / f"{name}.{suffix}"
                write_whole(path, image)
                written.append(path)
    return written


def _content(sources: Sequence[str], filters: Sequence[str], metric: str | None, title: str | None) -> Content:
    return gather(read(sources, _PARTS, filters), metric, title)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise AnalysisError(f"{folder} cannot be written to: {error.strerror or error}") from None
