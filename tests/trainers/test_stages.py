"""sDPO's stages: which pairs and how many steps each gets, where its reference comes from, and going on from a stop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.tiny_models import PAIRS, reference_of
from tests.fakes.tiny_runs import Recorder, method, run_config, run_spec
from trainers.config import RunConfig
from trainers.config_check import check
from trainers.data import TokenisedPair
from trainers.distributed import ALONE
from trainers.errors import InvalidInput
from trainers.evaluation.scorer import Scores
from trainers.models import Policy
from trainers.spec import RunFolder, RunResult
from trainers.stage import Materials, Stage
from trainers.stages import stages as makers
from trainers.train import train

# What the policy says of a stage's pairs when that begins.
AT_ITS_START = reference_of(PAIRS[:1])


def stages(config: RunConfig, pairs: Sequence[TokenisedPair], reference: Scores) -> list[Stage]:
    materials = Materials(
        config=config,
        policy=Policy(None, None, "fp32"),
        pairs=pairs,
        prompts=(),
        reference=reference,
        score=lambda _pairs: AT_ITS_START,
        score_reference=lambda _pairs: AT_ITS_START,
        folder=RunFolder(Path()),
        cache_dir=Path(),
        begin=lambda _phase: None,
        heed=lambda: None,
        world=ALONE,
    )
    return [make() for make in makers(materials)]


def configured(**changes: Any) -> RunConfig:
    return check(run_config("sdpo", **changes))


def margins(parts: list[Stage], reference: Scores) -> list[list[float]]:
    of_pair = {
        tuple(one.chosen_ids): float(chosen - rejected)
        for one, chosen, rejected in zip(PAIRS, reference.chosen_logps, reference.rejected_logps, strict=True)
    }
    return [[of_pair[tuple(one.chosen_ids)] for one in part.pairs] for part in parts]


@pytest.mark.parametrize("count", [2, 3, 5, 8])
@pytest.mark.parametrize("order", ["easy_first", "data"])
def test_stages_share_out_the_pairs_evenly(count: int, order: str) -> None:
    parts = stages(configured(method__stages=count, method__order=order), PAIRS, reference_of(PAIRS))
    sizes = [len(part.pairs) for part in parts]
    assert len(parts) == count
    assert max(sizes) - min(sizes) <= 1
    assert sorted(str(one) for part in parts for one in part.pairs) == sorted(map(str, PAIRS))


def test_the_pairs_that_the_reference_tells_apart_best_come_first() -> None:
    reference = reference_of(PAIRS)
    found = margins(stages(configured(), PAIRS, reference), reference)
    flat = [margin for part in found for margin in part]
    assert flat == sorted(flat, reverse=True)
    assert len(set(flat)) == len(PAIRS)


def test_pairs_stay_in_the_datas_order_where_that_is_asked() -> None:
    parts = stages(configured(method__order="data"), PAIRS, reference_of(PAIRS))
    assert [one for part in parts for one in part.pairs] == PAIRS


def test_pairs_alike_to_the_reference_stay_in_the_datas_order() -> None:
    alike = Scores(torch.zeros(8), torch.zeros(8), torch.ones(8), torch.ones(8))
    assert [one for part in stages(configured(), PAIRS, alike) for one in part.pairs] == PAIRS


def test_the_first_stage_has_the_references_scores_of_its_own_pairs() -> None:
    reference = reference_of(PAIRS)
    first, *later = stages(configured(), PAIRS, reference)
    assert first.reference is not None
    own = reference_of(first.pairs)
    assert first.reference.chosen_logps.tolist() == pytest.approx(own.chosen_logps.tolist(), abs=1e-5)
    assert first.reference.rejected_logps.tolist() == pytest.approx(own.rejected_logps.tolist(), abs=1e-5)
    assert [part.reference for part in later] == [AT_ITS_START, AT_ITS_START]


def test_fewer_pairs_than_stages_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"method.stages=3: there are 2 training pairs"):
        stages(configured(), PAIRS[:2], reference_of(PAIRS[:2]))


@pytest.mark.parametrize(("steps", "shares"), [(9, [3, 3, 3]), (10, [4, 3, 3]), (11, [4, 4, 3]), (3, [1, 1, 1])])
def test_stages_share_out_the_steps(steps: int, shares: list[int]) -> None:
    parts = stages(configured(training__max_steps=steps), PAIRS, reference_of(PAIRS))
    assert [part.config.training.max_steps for part in parts] == shares


def test_fewer_steps_than_stages_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"method.stages=3: there are 2 steps"):
        stages(configured(training__max_steps=2), PAIRS, reference_of(PAIRS))


def test_epochs_are_each_stages_own() -> None:
    parts = stages(configured(training__epochs=2), PAIRS, reference_of(PAIRS))
    assert [(part.config.training.epochs, part.config.training.max_steps) for part in parts] == [(2, -1)] * 3


def test_other_methods_have_one_stage() -> None:
    config, reference = check(run_config("dpo", training__max_steps=7)), reference_of(PAIRS)
    assert stages(config, PAIRS, reference) == [Stage(config, PAIRS, reference)]


# Whole runs. 32 pairs in three stages, four a step: 11, 11 and 10 pairs, three steps each.


def run(folder: Path, cache_dir: Path, reporter: Recorder | None = None, **changes: Any) -> RunResult:
    reporter = reporter or Recorder()
    result = train(run_spec(folder, cache_dir, run_config("sdpo", **changes)), reporter)
    reporter.do_what_is_left()
    return result


def held_out(result: RunResult) -> dict[str, float | None]:
    return {name: value for name, value in result.metrics.items() if name.startswith("eval/")}


@pytest.mark.slow
def test_steps_are_counted_through_all_stages(tmp_path: Path, cache_dir: Path) -> None:
    reporter = Recorder()
    result = run(tmp_path, cache_dir, reporter, evaluation__every=2)
    assert (result.status, result.error, result.steps) == ("completed", None, 9)
    assert ("training", 9) in reporter.phases
    assert sorted({step for step, _ in reporter.reports}) == list(range(1, 10))
    assert [step for step, _ in reporter.of("eval/margin_nats")] == [2, 4, 6, 8, 9]


@pytest.mark.slow
def test_each_stage_starts_at_its_own_reference(tmp_path: Path, cache_dir: Path) -> None:
    """The loss of every stage's first step is log 2, though the policy has moved from where it began."""
    reporter = Recorder()
    run(tmp_path, cache_dir, reporter, training__logging_steps=1, training__learning_rate=1e-2, evaluation__every=3)
    loss, moved = dict(reporter.of("train/loss")), dict(reporter.of("eval/margin_nats"))
    assert [loss[step] for step in (1, 4, 7)] == pytest.approx([0.6931] * 3, abs=1e-4)
    assert [dict(reporter.of("train/rewards/margins"))[step] for step in (1, 4, 7)] == pytest.approx([0] * 3, abs=1e-5)
    assert min(abs(loss[step] - 0.6931) for step in (3, 6, 9)) > 1e-3
    assert abs(moved[3]) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop_at", "peft"),
    [
        pytest.param(3, "lora", id="end_of_first"),
        pytest.param(5, "lora", id="second"),
        pytest.param(5, "none", id="second-full"),
        pytest.param(9, "none", id="end-full"),
    ],
)
def test_a_run_that_goes_on_ends_as_if_it_had_never_stopped(
    tmp_path: Path, cache_dir: Path, stop_at: int, peft: str
) -> None:
    changes: dict[str, Any] = {"training__learning_rate": 3e-3} | ({} if peft == "lora" else {"peft": {"kind": "none"}})
    whole = run(tmp_path / "whole", cache_dir, **changes)
    stopped = run(tmp_path / "parts", cache_dir, Recorder(stop_at=stop_at), **changes)
    assert (stopped.status, stopped.steps) == ("cancelled", stop_at)
    parts = run(tmp_path / "parts", cache_dir, **changes)
    assert (parts.status, parts.steps) == ("completed", 9)
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-5)


class Killed(Recorder):
    """Ends the process's run as a signal would, at a step."""

    def report(self, step: int, metrics: Any) -> bool:
        if step == 5:
            raise KeyboardInterrupt
        return super().report(step, metrics)


@pytest.mark.slow
def test_a_run_killed_in_its_second_stage_goes_on_from_the_end_of_the_first(tmp_path: Path, cache_dir: Path) -> None:
    """Though no checkpoints were asked for: the next stage's reference is taken from there."""
    whole = run(tmp_path / "whole", cache_dir)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", cache_dir, Killed())
    reporter = Recorder()
    parts = run(tmp_path / "parts", cache_dir, reporter)
    assert sorted({step for step, _ in reporter.reports}) == list(range(3, 10))
    assert held_out(parts) == pytest.approx(held_out(whole), abs=1e-5)


@pytest.mark.slow
def test_no_checkpoints_are_left_of_any_stage(tmp_path: Path, cache_dir: Path) -> None:
    run(tmp_path, cache_dir, training__save_steps=1)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", "evaluation"}


@pytest.mark.slow
def test_fewer_pairs_than_stages_fail_the_run_with_that_sentence(tmp_path: Path, cache_dir: Path) -> None:
    result = run(tmp_path, cache_dir, method=method("sdpo", stages=40))
    assert result.error == "InvalidInput: method.stages=40: there are 32 training pairs"


@pytest.mark.slow
@pytest.mark.parametrize("peft", ["lora", "none"])
def test_a_later_stages_checkpoint_serves_other_runs(tmp_path: Path, cache_dir: Path, peft: str) -> None:
    """As a reference, and to begin at: beside itself it has not moved."""
    own: dict[str, Any] = {} if peft == "lora" else {"peft": {"kind": "none"}}
    assert run(tmp_path / "sdpo", cache_dir, Recorder(stop_at=5), training__learning_rate=1e-2, **own).steps == 5
    at = tmp_path / "sdpo" / "checkpoints" / "stage-1" / "checkpoint-2"
    # A spec tells whose adapter it is; the folder of the run stands for its newest checkpoint.
    run_spec(tmp_path / "sdpo", cache_dir, run_config("sdpo", **own)).write()
    there = {"kind": "checkpoint", "path": str(at)}
    still = {"training__learning_rate": 1e-12, "training__max_steps": 3, **own}
    moved = run(tmp_path / "beside", cache_dir, reference={**there, "path": str(tmp_path / "sdpo")}, **still)
    itself = run(tmp_path / "itself", cache_dir, reference=there, start=there, **still)
    assert abs(moved.metrics["eval/chosen_logratio"] or 0.0) > 0.02
    assert itself.metrics["eval/chosen_logratio"] == pytest.approx(0, abs=1e-4)
