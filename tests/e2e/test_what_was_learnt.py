"""One study on the built-in world, where the reward is known: every command says the same of it wherever it is read."""

import json
import re
from collections.abc import Iterator, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from analysis.cli import main
from analysis.sources import read
from tests.e2e.conftest import Cli
from tests.fakes.wandb_server import ENTITY
from tests.fakes.wandb_study import wandb_here

pytestmark = pytest.mark.slow
BETAS = (0.003, 0.1, 0.3, 10.0)
# Two references: the start, and what SFT made of it. At 10 nothing is learnt, at 0.003 far too much.
WORDS = [
    "method=sft,dpo", "model=tiny", "reference=self,run", "reference.run={method:sft}", "data.max_train_samples=128",
    "data.max_eval_samples=64", "training.max_length=256", "evaluation.max_new_tokens=64", "tracking=online", "-m",
    f"beta={','.join(map(str, BETAS))}", "seed=0,1",
]  # fmt: skip
PROJECT = f"wandb:{ENTITY}/prefsweep"
# What is only known of folders: runs of a study that are one and the same are tracked once.
ONE_AND_THE_SAME = "the same as another of its study"


@pytest.fixture(scope="module")
def learnt(
    repository: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, tuple[str, ...]]]:
    """The study as each of its sources: its folder, its group at W&B, and what was pulled from either."""
    place = tmp_path_factory.mktemp("learnt")
    (place / "client").mkdir()
    with pytest.MonkeyPatch.context() as patch, wandb_here(patch, place / "client"):
        cli = Cli(repository, place / "out", cache_dir)
        code, text = cli.finish(cli.sweep(*WORDS))
        assert code == 0, text
        sources = {"folder": (str(cli.study),), "W&B": (f"{PROJECT}/s",)}
        for name, of in (("folder", str(cli.study)), ("W&B", f"{PROJECT}/s")):
            file = str(place / f"{name[0]}.parquet")
            assert main(["pull", of, "-o", file]) == 0
            sources[f"pulled from {name}"] = (file,)
        yield sources


def said(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> str:
    capsys.readouterr()
    assert main(list(words)) == 0
    lines = capsys.readouterr().out.splitlines()
    kept = "\n".join(line for line in lines if line.strip() and ONE_AND_THE_SAME not in line)
    return re.sub(r",(?=\n *\])", "", kept)  # what was the last but one of a JSON list


QUESTIONS = [
    ["rank", "--by", "beta", "--metric", "eval/reward", "--pareto", "eval/kl", "--fit", "-f", "json"],
    ["rank", "--by", "beta", "--metric", "eval/policy_accuracy", "-f", "csv"],
    ["rank", "--by", "beta"],
    ["rank", "--by", "reference", "--within", "method,model,beta", "--metric", "eval/win_rate", "-f", "json"],
    ["rank", "--by", "reference", "--within", "method,model", "--filter", "method=dpo", "-f", "md"],
    ["compare", "--rows", "method,reference", "--cols", "beta", "--metric", "eval/reward", "-f", "csv"],
    ["compare", "--rows", "reference", "--cols", "", "--metric", "eval/reward,eval/win_rate", "-f", "md"],
    ["responses", "--prompts", "2", "-f", "json"],
    ["responses", "--runs", "all", "--prompts", "7,", "-f", "md"],
    ["show"],
]


@pytest.mark.parametrize("words", QUESTIONS, ids=" ".join)
def test_every_source_gives_the_same_answer(
    words: list[str], learnt: dict[str, tuple[str, ...]], capsys: pytest.CaptureFixture[str]
):
    answers = {name: said(capsys, [words[0], *sources, *words[1:]]) for name, sources in learnt.items()}
    assert answers["folder"].strip()
    assert answers == dict.fromkeys(answers, answers["folder"])


def test_a_folder_and_its_copy_at_wandb_are_one_study(
    learnt: dict[str, tuple[str, ...]], capsys: pytest.CaptureFixture[str]
):
    both = [*learnt["folder"], *learnt["W&B"]]
    words = ["--by", "beta", "--metric", "eval/reward", "-f", "csv"]
    assert said(capsys, ["rank", *both, *words]) == said(capsys, ["rank", *learnt["folder"], *words])


@pytest.mark.parametrize("metric", ["eval/reward", "eval/win_rate"])
def test_the_rewards_own_optimum_is_best_or_tied_with_it(
    metric: str, learnt: dict[str, tuple[str, ...]], capsys: pytest.CaptureFixture[str]
):
    """The optimum is taken from the runs beside the other reference, which have answered with policies of their own."""
    words = ["--by", "beta", "--filter", "method=dpo", "-f", "json"]
    by_reward = json.loads(said(capsys, ["rank", *learnt["folder"], "--metric", "eval/reward", *words]))
    ranked = json.loads(said(capsys, ["rank", *learnt["folder"], "--metric", metric, *words]))
    assert len(ranked["groups"]) == 2
    for group, other in zip(ranked["groups"], reversed(by_reward["groups"]), strict=True):
        optimum = max(other["cells"], key=lambda cell: cell["mean"])["beta"]
        standings = {cell["beta"]: cell["standing"] for cell in group["cells"]}
        assert standings[optimum] in ("best", "tied"), standings


def test_far_too_weak_a_pull_is_never_best(learnt: dict[str, tuple[str, ...]], capsys: pytest.CaptureFixture[str]):
    ranked = json.loads(said(capsys, ["rank", *learnt["folder"], "--metric", "eval/reward", "-f", "json"]))
    for group in ranked["groups"]:
        assert {cell["beta"]: cell["standing"] for cell in group["cells"]}.get(BETAS[0]) != "best"


def told_by_report(source: Sequence[str], path: Path, *words: str) -> str:
    """The page."""
    assert main(["report", *source, "-o", str(path), *words]) == 0
    return path.read_text(encoding="utf-8")


def rows_of(page: str) -> list[list[str]]:
    """The cells of the table of the ranking, as text."""
    table = re.search(r"<table[^>]*>.*?</table>", page[page.index('id="ranking"') :], re.DOTALL)
    assert table is not None
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table[0], re.DOTALL)
    cells = [re.findall(r"<t[dh].*?</t[dh]>", row, re.DOTALL) for row in rows]
    return [[unescape(re.sub(r"<[^>]+>", "", cell)).strip() for cell in row] for row in cells]


@pytest.mark.parametrize("metric", ["eval/reward", "eval/policy_accuracy"])
def test_reports_agree_with_each_other_and_with_the_ranking(
    metric: str, learnt: dict[str, tuple[str, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ("--filter", "method=dpo", "--metric", metric)
    pages = {name: told_by_report(source, tmp_path / "r.html", *words) for name, source in learnt.items()}
    rows = {name: rows_of(page) for name, page in pages.items()}
    assert len(rows["folder"]) > len(BETAS)
    assert rows == dict.fromkeys(rows, rows["folder"])
    ranked: dict[str, Any] = json.loads(
        said(capsys, ["rank", *learnt["W&B"], "--by", "reference,beta", "--within", "", *words, "-f", "json"])
    )
    (group,) = ranked["groups"]
    assert group["verdict"] in unescape(pages["folder"])
    assert len(group["cells"]) == 2 * len(BETAS)


def test_all_parts_are_there_from_every_source(learnt: dict[str, tuple[str, ...]]):
    for name, source in learnt.items():
        frame = read(source, ("history", "pairs", "answers", "tokens")).frame
        assert len(frame) == 2 + 4 * len(BETAS), name
        assert frame[["history.train/loss", "pairs.chosen_logp", "answers.reward", "tokens"]].notna().all(axis=None)
