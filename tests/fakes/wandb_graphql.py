"""What a W&B server knows of runs, and how it answers the GraphQL operations of the real client.

The public API of the client (`wandb.Api`) asks for runs in pages, for a run's history and for its files; a run under
way upserts itself, asks where to upload files, and asks whether it is known already.
"""

import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ENTITY = "somebody"
FILES_A_PAGE = 2


@dataclass
class Run:
    """What came of one run. `order` numbers runs as they were made."""

    name: str
    order: int = 0
    display_name: str = ""
    project: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    # As the client sent it: {"beta": {"value": 0.1}}; and lines of JSON, in which W&B's NaN is no JSON.
    raw_config: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    complete: bool = False
    exit_code: int | None = None
    # What W&B says of a run that it has not heard of for long.
    crashed: bool = False
    # How many of its lines are only in parquet files, as those of an older run are.
    exported: int = 0
    heartbeat: int = 0

    @property
    def history(self) -> list[dict[str, Any]]:
        """Its lines, parsed."""
        return [json.loads(line) for line in self.lines]

    @property
    def state(self) -> str:
        """W&B's word for how it is."""
        if self.crashed:
            return "crashed"
        if not self.complete:
            return "running"
        return "finished" if self.exit_code == 0 else "failed"

    @property
    def last_step(self) -> int:
        return max((row["_step"] for row in self.history), default=-1)


class Backend:
    """The runs, and an answer to each operation."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.operations: list[str] = []
        self.url = ""
        # The most that the server gives on a page of runs, whatever was asked.
        self.most_a_page = 1000

    def run(self, name: str) -> Run:
        return self.runs.setdefault(name, Run(name, order=len(self.runs)))

    def answer(self, query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The `data` of one operation."""
        operation = operation_of(query)
        self.operations.append(operation)
        return self._answers.get(operation, lambda *_: {})(self, variables)

    def _upsert(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        run = self.run(asked["name"])
        run.heartbeat += 1
        run.display_name = asked.get("displayName") or run.display_name
        run.project = asked.get("project") or run.project
        run.group = asked.get("groupName") or run.group
        run.tags = asked.get("tags") or run.tags
        if asked.get("config"):
            run.raw_config |= json.loads(asked["config"])
            run.config = {key: entry["value"] for key, entry in run.raw_config.items() if key != "_wandb"}
        bucket = {
            "id": run.name,
            "name": run.name,
            "displayName": run.display_name,
            "description": "",
            "config": "{}",
            "sweepName": None,
            "historyLineCount": len(run.lines),
            "project": {"id": "1", "name": run.project, "entity": {"id": "1", "name": ENTITY}},
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}

    def _create_files(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{asked['run']}/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked.get("run", ""), "uploadHeaders": [], "files": files}}

    def _viewer(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    def _page(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        there = [run for run in self.runs.values() if run.project == asked["project"]]
        if not there or asked["entity"] != ENTITY:
            return {"project": None}
        wanted = json.loads(asked.get("filters") or "{}")
        found = sorted((run for run in there if _matches(run, wanted)), key=lambda run: run.order)
        page, more = _paged(found, asked.get("cursor"), min(asked["perPage"], self.most_a_page))
        edges = [{"node": _node(run), "cursor": str(place)} for place, run in page]
        end = edges[-1]["cursor"] if edges else None
        runs = {"edges": edges, "pageInfo": {"endCursor": end, "hasNextPage": more}}
        return {"project": {"internalId": "1", "runCount": len(found), "readOnly": False, "runs": runs}}

    def _of_run(self, asked: Mapping[str, Any], name: str, told: Callable[[Run], dict[str, Any]]) -> dict[str, Any]:
        run = self.runs.get(asked[name])
        return {"project": {"internalId": "1", "run": None if run is None else told(run)}}

    def _one(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return self._of_run(asked, "name", _node)

    def _history_keys(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return self._of_run(asked, "name", lambda run: {"historyKeys": _node(run)["historyKeys"]})

    def _parquet(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        def told(run: Run) -> dict[str, Any]:
            urls = [f"{self.url}/parquet/{run.name}.parquet"] if run.exported else []
            live = [json.loads(_plain(line)) for line in run.lines[run.exported :]]
            return {"parquetHistory": {"parquetUrls": urls, "liveData": live}}

        return self._of_run(asked, "runName", told)

    def _history_page(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        def told(run: Run) -> dict[str, Any]:
            steps = range(asked["minStep"], asked["maxStep"])
            lines = [line for line in run.lines[run.exported :] if json.loads(line)["_step"] in steps]
            return {"history": [_plain(line) for line in lines[: asked["pageSize"]]]}

        return self._of_run(asked, "run", told)

    def _files(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        def told(run: Run) -> dict[str, Any]:
            names = sorted(name for name in run.files if not asked["fileNames"] or name in asked["fileNames"])
            page, more = _paged(names, asked.get("fileCursor"), min(asked["fileLimit"], FILES_A_PAGE))
            edges = [{"node": self._file(run, name), "cursor": str(place)} for place, name in page]
            end = edges[-1]["cursor"] if edges else None
            files = {"edges": edges, "pageInfo": {"endCursor": end, "hasNextPage": more}}
            return {"fileCount": len(run.files), "files": files}

        return self._of_run(asked, "name", told)

    def _file(self, run: Run, name: str) -> dict[str, Any]:
        url = f"{self.url}/files/{ENTITY}/{run.project}/{run.name}/{name}"
        size = len(run.files[name])
        return {"id": name, "name": name, "url": url, "directUrl": url, "sizeBytes": size, "mimetype": "",
                "updatedAt": "2026-01-01T00:00:00Z", "md5": ""}  # fmt: skip

    def exported(self, name: str) -> bytes:
        """The parquet file of a run's older lines."""
        run = self.runs[name]
        rows = [json.loads(line) for line in run.lines[: run.exported]]
        columns = sorted({key for row in rows for key in row})
        buffer = io.BytesIO()
        pq.write_table(pa.table({key: [row.get(key) for row in rows] for key in columns}), buffer)
        return buffer.getvalue()

    _answers: Mapping[str, Callable[["Backend", Mapping[str, Any]], dict[str, Any]]] = {
        "UpsertBucket": _upsert,
        "CreateRunFiles": _create_files,
        "Viewer": _viewer,
        "GetDefaultEntity": _viewer,
        "RunResumeStatus": lambda *_: {"model": {"bucket": None}},
        "Runs": _page,
        "Run": _one,
        "RunHistoryKeys": _history_keys,
        "RunParquetHistory": _parquet,
        "HistoryPage": _history_page,
        "RunFiles": _files,
    }


def operation_of(query: str) -> str:
    """The name of a GraphQL operation."""
    found = re.search(r"\b(?:query|mutation)\s+(\w+)", query)
    return found.group(1) if found else ""


def _plain(line: str) -> str:
    """A line as W&B gives it back: numbers that JSON lacks are text."""
    return re.sub(r"(?<=[:\s])(-?Infinity|NaN)(?=[,}\s])", r'"\1"', line)


def _node(run: Run) -> dict[str, Any]:
    keys = {key: {} for row in run.history for key in row}
    return {
        "id": run.name, "projectId": "1", "tags": run.tags, "name": run.name, "displayName": run.display_name,
        "sweepName": None, "state": run.state, "config": json.dumps(run.raw_config), "group": run.group or None,
        "jobType": None, "commit": None, "readOnly": False, "createdAt": f"2026-01-01T00:00:{run.order:02d}Z",
        "heartbeatAt": f"2026-01-01T01:00:{run.heartbeat:02d}Z", "description": "", "notes": "",
        "systemMetrics": "{}", "summaryMetrics": _plain(json.dumps(run.summary)), "historyLineCount": len(run.lines),
        "user": {"name": ENTITY, "username": ENTITY},
        "historyKeys": {"lastStep": run.last_step, "sets": [], "keys": keys} if keys else None,
    }  # fmt: skip


def _paged(things: Sequence[Any], cursor: str | None, most: int) -> tuple[list[tuple[int, Any]], bool]:
    """A page of numbered things after a cursor, and whether there are more."""
    start = int(cursor) + 1 if cursor else 0
    return list(enumerate(things))[start : start + most], start + most < len(things)


def _matches(run: Run, wanted: Mapping[str, Any]) -> bool:
    """W&B's filters, which are MongoDB's, as far as they are used."""
    known: dict[str, Iterable[Any]] = {"group": [run.group], "state": [run.state], "tags": run.tags}
    for key, value in wanted.items():
        if key == "$and":
            if not all(_matches(run, one) for one in value):
                return False
        elif not set(value["$in"] if isinstance(value, dict) else [value]) & set(known[key]):
            return False
    return True
