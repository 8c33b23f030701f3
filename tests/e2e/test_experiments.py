"""The experiments that run on a CPU, through the command line, against what theory and their sources say."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from tests.oracles import bandits, two_actions
from tests.oracles.test_oracles import UNIFORM, wins
from trainers.spec import RunResult

pytestmark = pytest.mark.slow

S0 = two_actions.logit(0.25)
FEW = ["data.max_train_samples=64", "data.max_eval_samples=32", "evaluation.samples=16", "evaluation.every=0"]

Study = Callable[..., Cli]


@pytest.fixture(scope="module")
def study(repository: Path, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Study:
    """Carries out the small size of an experiment, once for all tests that ask for the same."""
    done: dict[tuple[str, ...], Cli] = {}

    def carry_out(*words: str) -> Cli:
        if words not in done:
            cli = Cli(repository, tmp_path_factory.mktemp("experiment"), cache_dir)
            experiment, *others = words
            fixed = [f"+experiment={experiment}", "size=small", "tracking=disabled", "-m"]
            code, text = cli.finish(cli.sweep(*fixed, *others))
            assert code == 0, text
            done[words] = cli
        return done[words]

    return carry_out


def results(cli: Cli) -> list[RunResult]:
    """In the order of the trials."""
    return [result for _, result in sorted(cli.results().items())]


def table(cli: Cli) -> list[dict[str, str]]:
    return list(csv.DictReader((cli.study / "table.csv").open()))


def curve(cli: Cli, metric: str, trial: int = 0) -> dict[int, float]:
    """A metric by step."""
    (path,) = cli.study.glob(f"runs/t{trial:04d}*/metrics.jsonl")
    lines = map(json.loads, path.read_text().splitlines())
    return {line["step"]: line[metric] for line in lines if metric in line}


def odds(result: RunResult) -> list[float]:
    return [result.metrics[f"eval/p_{action}"] or 0.0 for action in "abc"]


@pytest.mark.xdist_group("bandits")
def test_ipo_on_three_actions_ends_at_least_squares(study: Study):
    for result in results(study("bandits", "method=ipo")):
        pairs, tau = str(result.params["data.pairs"]), float(str(result.params["beta"]))
        expected = bandits.policy(bandits.ipo(wins(pairs), tau), UNIFORM)
        assert odds(result) == pytest.approx(list(expected), abs=0.005)


@pytest.mark.xdist_group("bandits")
def test_the_numbers_beside_ipos_bandits_are_what_it_measured(study: Study):
    rows = table(study("bandits", "method=ipo"))
    beside = [(row[f"eval/p_{action}"], row[f"published p_{action}"]) for row in rows for action in "abc"]
    printed = [(float(own), float(published)) for own, published in beside if published]
    # Of the set as printed, {ab, ba}, only c is told of.
    assert len(printed) == len(beside) - 6
    assert all(own == pytest.approx(published, abs=0.005) for own, published in printed)


def test_dpo_on_three_actions_ends_at_its_limits(study: Study):
    """(1, 0, 0), uniform, c as it was, and (1/2, 1/2, 0)."""
    limits = [[1, 0, 0], [1 / 3] * 3, [1 / 3] * 3, [1 / 2, 1 / 2, 0]]
    for result, limit in zip(results(study("bandits", "method=dpo", "beta=0.5")), limits, strict=True):
        assert odds(result) == pytest.approx(limit, abs=0.005)


def test_dpo_finds_its_way_back_to_uniform_from_afar(study: Study):
    """A circle of wins under a uniform reference, from a start that prefers a."""
    words = ["data.pairs=ab bc ca", "model.path=builtin:bandit/1/0/-1", "reference=model",
             "reference.path=builtin:bandit/0/0/0", "method=dpo", "beta=0.5"]  # fmt: skip
    (result,) = results(study("bandits", *words))
    assert odds(result) == pytest.approx([1 / 3] * 3, abs=0.005)


TWO_ACTIONS = ["two_actions", "method=dpo,ipo,orpo,sft", "beta=0.5,2"]


@pytest.mark.xdist_group("two-actions")
def test_two_actions_end_at_each_methods_optimum(study: Study):
    for result in results(study(*TWO_ACTIONS)):
        beta = float(str(result.params.get("beta", 1.0)))  # sft has none
        expected = {
            "dpo": two_actions.dpo(0.8, beta, S0),
            "ipo": two_actions.ipo(0.8, beta, S0),
            "orpo": two_actions.orpo(0.8, beta),
            "sft": two_actions.sft(0.8),
        }[str(result.params["method"])]
        assert result.metrics["eval/logit"] == pytest.approx(expected, abs=0.01)


@pytest.mark.xdist_group("two-actions")
def test_the_numbers_beside_two_actions_are_the_closed_forms(study: Study):
    for row in table(study(*TWO_ACTIONS)):
        assert float(row["eval/logit"]) == pytest.approx(float(row["published logit"]), abs=0.01)


def test_a_strong_pull_leads_to_a_stronger_reference(study: Study):
    """The policy starts at even odds, its reference at e^2: 2 + logit(0.6)/beta."""
    for result in results(study("stronger_reference")):
        expected = two_actions.dpo(0.6, float(str(result.params["beta"])), 2.0)
        assert result.metrics["eval/logit"] == pytest.approx(expected, abs=0.01)


@pytest.mark.xdist_group("collapse")
def test_dpos_loss_on_one_pair_falls_for_ever(study: Study):
    """About as 1/t: the source has .0730 at step 100 and .0073 at 900, of other random weights."""
    loss = curve(study("dpo_collapse"), "train/loss")
    assert loss[1] == pytest.approx(0.6931, abs=1e-3)
    assert 0.0730 / 3 < loss[100] < 0.0730 * 3
    assert 0.0073 / 5 < loss[900] < 0.0073 * 5
    # Nine times the steps: 9 would be 1/t, and 81 its square.
    assert 9 <= loss[100] / loss[900] <= 20


@pytest.mark.xdist_group("collapse")
def test_dpos_margin_on_one_pair_is_rejected_suppression_without_a_plateau(study: Study):
    cli = study("dpo_collapse")
    (result,) = results(cli)
    margin, rejected = curve(cli, "eval/margin_nats"), result.metrics["eval/rejected_logratio"] or 0.0
    assert margin[400] + 5 < margin[900]
    assert -rejected > 0.75 * margin[1000]
    assert (result.metrics["eval/p_rejected"] or 0.0) < 1e-20


def test_ipo_settles_where_its_strength_says(study: Study):
    """h = 1/(2 beta), beta = tau/4: 5, 1, 0.5; it is there half way, and stays."""
    cli = study("ipo_plateau")
    for trial, expected in enumerate((5.0, 1.0, 0.5)):
        margin = curve(cli, "eval/margin_nats", trial)
        assert [margin[50], margin[100]] == pytest.approx([expected] * 2, abs=0.01)


def test_ipo_oscillates_at_the_higher_rate_only(study: Study):
    cli = study("ipo_oscillation")
    high, low = (list(curve(cli, "eval/margin_nats", trial).values())[:6] for trial in (0, 1))
    assert [margin > 1 for margin in high] == [True, False, True, False, True, False]
    assert low == sorted(low)
    assert max(low) < 1


def test_methods_with_and_without_a_reference_are_judged_alike(study: Study):
    found = results(study("reference_needed", "method=dpo,orpo", *FEW))
    assert all(0 < (result.metrics["eval/win_rate"] or 0.0) < 1 for result in found)
    assert all((result.metrics["eval/kl"] or 0.0) > 0 for result in found)


def test_a_stronger_pull_keeps_the_policy_nearer(study: Study):
    """The KL of samples at both ends of the frontier."""
    words = ["data.max_train_samples=256", *FEW[1:], "method=dpo", "beta=0.05,5"]
    weak, strong = (result.metrics["eval/kl"] or 0.0 for result in results(study("kl_reward_frontier", *words)))
    assert weak > 2 * strong


def test_a_sweep_that_is_left_out_is_told(repository: Path, tmp_path: Path, cache_dir: Path):
    cli = Cli(repository, tmp_path, cache_dir)
    code, text = cli.finish(cli.sweep("plan", "+experiment=bandits", "size=small", "tracking=disabled"))
    assert code == 0
    assert "without -m the sweep over method, data.pairs, beta is left out" in text


def test_the_qlora_recipe_runs_on_the_built_in_model(study: Study):
    (result,) = results(study("orpo_mistral_qlora", "beta=0.1", *FEW[:2], "training.max_steps=4"))
    assert "bitsandbytes" in result.versions
