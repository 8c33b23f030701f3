"""DPO held to what SFT has trained in the same study: who waits for whom, what the reference says, what a fault costs.

One study for all: method=sft,dpo reference=run 'reference.run={method:sft}' -m beta=0.1,0.5, two seeds, and a learning
rate at which SFT ends in numbers that are none.
"""

import csv
import json
from pathlib import Path

import pytest
from peft import PeftModel

from tests.e2e.conftest import Cli
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.data import load_pairs, tokenise
from trainers.evaluation.pairs import metrics
from trainers.evaluation.scorer import Scores, score
from trainers.models import load_base, load_tokenizer
from trainers.spec import RunResult, RunSpec

# The study is carried out once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("reference_run")]

WORDS = ["method=sft,dpo", "reference=run", "reference.run={method:sft}", "model=tiny", "tracking=disabled"]
SMALL = ["data.max_train_samples=32", "data.max_eval_samples=16", "training.max_grad_norm=0"]
GOOD, BAD = 2e-2, 1e30
SWEPT = ["-m", "beta=0.1,0.5", "seed=0,1", f"training.learning_rate={GOOD},{BAD}"]


class Study:
    """The study, carried out."""

    def __init__(self, cli: Cli) -> None:
        self.code, self.said = cli.finish(cli.sweep(*WORDS, *SMALL, *SWEPT))
        self.folder, self.cache = cli.study, Path(cli.environment["PREFSWEEP_CACHE"])
        self.specs = [RunSpec.read(path) for path in sorted(cli.study.glob("runs/t*"))]
        self.results = cli.results()

    def dpo(self, rate: float) -> list[RunSpec]:
        """Its DPO runs at that learning rate."""
        found = [s for s in self.specs if (s.method, s.params["training.learning_rate"]) == ("dpo", rate)]
        assert len(found) == 4, self.said
        return found

    def needed(self, spec: RunSpec) -> RunSpec:
        """The run that it waits for, which is an SFT run; of those that compute the same, the one carried out."""
        (run_id,) = spec.needs
        carried_out = self.results[run_id].same_as or run_id
        return next(other for other in self.specs if other.run_id == carried_out)

    def result(self, spec: RunSpec) -> RunResult:
        return self.results[spec.run_id]

    def when(self, spec: RunSpec, event: str) -> float:
        lines = map(json.loads, spec.folder.attempts.read_text().splitlines())
        return float(next(line["time"] for line in lines if line["event"] == event))


@pytest.fixture(scope="module")
def study(repository: Path, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Study:
    return Study(Cli(repository, tmp_path_factory.mktemp("out"), cache_dir))


def test_each_run_waits_for_the_one_of_its_seed(study: Study) -> None:
    for spec in study.dpo(GOOD):
        needed = study.needed(spec)
        assert (needed.method, needed.seed, needed.params["training.learning_rate"]) == ("sft", spec.seed, GOOD)
        assert study.result(spec).status == "completed", study.said
        assert study.when(spec, "began") >= study.when(needed, "ended")


def scores_of(folder: Path | None, config: RunConfig, cache: Path) -> Scores:
    """What the adapter in the folder says of the held-out pairs, or the base without one."""
    model = load_base(config, config.model.path, None, cache)
    if folder is not None:
        model = PeftModel.from_pretrained(model, str(folder))
    tokenizer = load_tokenizer(config, cache)
    pairs = tokenise(load_pairs(config.data, cache).heldout, tokenizer, config.training.max_length)
    return score(model, pairs, config.evaluation.batch_size, tokenizer.pad_token_id)


def test_the_reference_says_what_the_policy_of_the_run_that_was_waited_for_says(study: Study) -> None:
    """By the run's own measures: they are what its adapter and the SFT run's, each asked directly, come to."""
    for spec in study.dpo(GOOD):
        config = check(spec.config)
        policy = scores_of(spec.folder.adapter, config, study.cache)
        reference = scores_of(study.needed(spec).folder.adapter, config, study.cache)
        expected = metrics(policy, reference)
        assert {name: study.result(spec).metrics[name] for name in expected} == pytest.approx(expected, abs=1e-4)
        base = metrics(policy, scores_of(None, config, study.cache))
        assert abs(base["eval/chosen_logratio"] - expected["eval/chosen_logratio"]) > 0.1, "SFT has learnt something"


def test_runs_whose_reference_failed_are_not_started_and_say_why(study: Study) -> None:
    assert study.code == 1, study.said
    for spec in study.dpo(BAD):
        (needed,) = spec.needs
        assert study.results[needed].status == "failed"
        assert "training.learning_rate" in str(study.results[needed].error)
        assert study.result(spec).status == "failed"
        assert study.result(spec).error == f"not started: {needed}, which it needs, failed"
        assert not spec.folder.attempts.exists()


def test_the_table_shows_them_all(study: Study) -> None:
    rows = list(csv.DictReader((study.folder / "table.csv").open()))
    shown = {(row["method"], row["beta"], row["training.learning_rate"]): row for row in rows}
    assert len(shown) == len(rows) == 6, "sft has no beta: one trial for each learning rate"
    for (method, _, rate), row in shown.items():
        assert row["state"] == ("complete" if float(rate) < 1 else "failed"), (method, row)
    completed = [row for row in rows if row["state"] == "complete"]
    assert all(row["eval/margin_nats"] for row in completed)
    for name in ("sft", "dpo", "complete", "failed"):
        assert name in study.said
