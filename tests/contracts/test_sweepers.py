"""What every sweeper promises."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.dimensions import Choice, Integer, Real
from sweeps.errors import SweepsError, UnknownTrial
from sweeps.make import make_sweeper
from sweeps.samplers import KINDS, SamplerSettings
from sweeps.space import Part, Space, When
from sweeps.types import Outcome, Sweeper, Trial

# Everything that a space can say, in 25 points.
FINITE = Space(
    {"method": Choice(("dpo", "simpo", "sft"))},
    zips=[{"training.learning_rate": [1e-4, 1e-5], "data.noise": [0.0, 0.2]}],
    conditions=[
        When({"method": ["dpo"]}, Part({"beta": Real(0.1, 0.55, step=0.2)})),
        When({"method": ["simpo"]}, Part({"beta": Choice((2, 10)), "method.gamma": Integer(1, 6, step=2)})),
        When(
            {"method": ["sft"]},
            Part(any_of=[Part({"training.steps": Integer(1, 3)}), Part({"packed": Choice((True, 1))})]),
        ),
    ],
    enqueue=[
        {"method": "simpo", "beta": 10},
        {"method": "sft", "packed": 1, "training.learning_rate": 1e-5, "data.noise": 0.2},
    ],
    constraints=["beta * method.gamma <= 40", "not (training.steps >= 3 and training.learning_rate > 5e-5)"],
)
ENDLESS = Space(
    {"method": Choice(("dpo", "simpo", "sft")), "training.learning_rate": Real(1e-6, 1e-3, log=True)},
    conditions=[
        When({"method": ["dpo"]}, Part({"beta": Real(0.005, 0.5, log=True)})),
        When({"method": ["simpo"]}, Part({"beta": Real(2, 10), "method.gamma": Real(0.25, 1.5, step=0.25)})),
    ],
    enqueue=[{"method": "dpo", "beta": 0.1, "training.learning_rate": 5e-6}, {"method": "simpo", "method.gamma": 0.5}],
    constraints=["beta * training.learning_rate <= 5e-3"],
)
# Small generations and early models, so that a dozen trials see more than a sampler's random beginning.
ARGUMENTS = {
    "tpe": {"n_startup_trials": 3},
    "gp": {"n_startup_trials": 3},
    "cmaes": {"popsize": 4},
    "nsga2": {"population_size": 4},
    "nsga3": {"population_size": 4},
}
TWO = ("nsga2", "nsga3")
MANY = 14

Make = Callable[[], Sweeper]
# What searches by default is held to it each time; the others wait for all tests.
QUICK = ("grid", "random", "tpe")
kinds = [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


def made(kind: str, space: Space, journal: Path, n_trials: int | None = None, seed: int = 1) -> Sweeper:
    directions = ("maximize", "minimize") if kind in TWO else ("maximize",)
    settings = SamplerSettings(kind, seed, ARGUMENTS.get(kind, {}))
    return make_sweeper(space, settings, directions, n_trials=n_trials, storage=journal)


def complete(trial: Trial, kind: str = "") -> Outcome:
    value = float(trial.params.get("beta", 0.3)) - math.log10(float(trial.params["training.learning_rate"]))  # type: ignore[arg-type]
    return Outcome("complete", (value, -value) if kind in TWO else (value,))


@pytest.fixture(params=kinds)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(kind: str, tmp_path: Path) -> Make:
    """The sweeper of the finite space, again on each call with the same journal."""
    return lambda: made(kind, FINITE, tmp_path / "optuna.journal")


@pytest.fixture
def sweeper(make: Make) -> Sweeper:
    return make()


@pytest.fixture
def searching(kind: str) -> tuple[str, Space]:
    """A kind and the hardest space that it can search."""
    return kind, FINITE if kind in ("grid", "bruteforce") else ENDLESS


def test_numbers_are_given_once_and_count_up(sweeper: Sweeper):
    assert [trial.number for _ in range(4) for trial in sweeper.ask(1)] == [0, 1, 2, 3]


def test_asking_for_many_gives_no_more_than_asked(sweeper: Sweeper):
    assert len(sweeper.ask(3)) == 3


def test_outcomes_may_be_told_in_any_order(sweeper: Sweeper, kind: str):
    first, second = sweeper.ask(2)
    sweeper.tell(second, Outcome("fail"))
    sweeper.tell(first, complete(first, kind))


def test_a_trial_is_told_once(sweeper: Sweeper, kind: str):
    (trial,) = sweeper.ask(1)
    sweeper.tell(trial, complete(trial, kind))
    with pytest.raises(UnknownTrial):
        sweeper.tell(trial, complete(trial, kind))


def test_a_trial_never_asked_for_is_refused(sweeper: Sweeper):
    with pytest.raises(UnknownTrial):
        sweeper.tell(Trial(99, {}), Outcome("fail"))


def test_all_may_be_asked_for_before_any_is_told(sweeper: Sweeper, kind: str):
    trials = sweeper.ask(1000)
    assert sorted(map(FINITE.identity, (t.params for t in trials))) == sorted(map(FINITE.identity, FINITE.points()))
    for trial in reversed(trials):
        sweeper.tell(trial, complete(trial, kind))


def test_a_finite_space_ends_with_its_last_point(sweeper: Sweeper, kind: str):
    seen = []
    while trials := sweeper.ask(1):
        seen += trials
        sweeper.tell(trials[0], complete(trials[0], kind))
    assert sorted(map(FINITE.identity, (t.params for t in seen))) == sorted(map(FINITE.identity, FINITE.points()))
    assert list(sweeper.ask(1)) == []
    assert not sweeper.waits


def test_failures_and_numbers_that_are_none_end_a_trial_like_others(sweeper: Sweeper, kind: str):
    endings = [
        Outcome("complete", (math.nan, 1.0) if kind in TWO else (math.nan,)),
        Outcome("complete", (math.inf, 1.0) if kind in TWO else (math.inf,)),
        Outcome("complete"),
        Outcome("fail"),
        Outcome("pruned", reports={1: 0.5, 2: math.nan}),
        Outcome("pruned"),
    ]
    for trial, outcome in zip(sweeper.ask(6), endings, strict=True):
        sweeper.tell(trial, outcome)
    (trial,) = sweeper.ask(1)
    sweeper.tell(trial, complete(trial, kind))


def test_every_point_is_of_the_space_and_made_of_plain_values(searching: tuple[str, Space], tmp_path: Path):
    kind, space = searching
    sweeper = made(kind, space, tmp_path / "optuna.journal", MANY)
    for _ in range(MANY):
        (trial,) = sweeper.ask(1)
        assert space.contains(trial.params) == []
        assert {type(value) for value in trial.params.values()} <= {str, int, float, bool}
        sweeper.tell(trial, complete(trial, kind))


def test_no_point_is_given_twice(searching: tuple[str, Space], tmp_path: Path):
    kind, space = searching
    trials = made(kind, space, tmp_path / "optuna.journal", MANY).ask(MANY)
    assert len({space.identity(trial.params) for trial in trials}) == MANY


def test_points_that_are_enqueued_come_first(searching: tuple[str, Space], tmp_path: Path):
    kind, space = searching
    first, second = made(kind, space, tmp_path / "optuna.journal").ask(2)
    assert space.enqueue[0].items() <= first.params.items()
    assert space.enqueue[1].items() <= second.params.items()


def test_the_same_seed_and_outcomes_give_the_same_trials(searching: tuple[str, Space], tmp_path: Path):
    kind, space = searching
    runs = []
    for name in ("one", "other"):
        sweeper = made(kind, space, tmp_path / name)
        trials = []
        for _ in range(MANY):
            trials += (asked := sweeper.ask(1))
            sweeper.tell(asked[0], complete(asked[0], kind))
        runs.append(trials)
    assert runs[0] == runs[1]


@pytest.mark.parametrize("kept", [True, False], ids=["with its storage", "without its storage"])
def test_a_study_goes_on_from_any_point_as_if_it_had_not_ended(
    searching: tuple[str, Space], kept: bool, tmp_path: Path
):
    kind, space = searching
    journal = tmp_path / "optuna.journal"
    sweeper = made(kind, space, journal, MANY)
    whole = []
    for _ in range(MANY):
        whole += (asked := sweeper.ask(1))
        sweeper.tell(asked[0], complete(asked[0], kind))
    for done in range(0, MANY, 3):
        again = tmp_path / f"journal-{done}"
        first = made(kind, space, again, MANY)
        known: list[tuple[Trial, Outcome | None]] = []
        for _ in range(done):
            (trial,) = first.ask(1)
            known.append((trial, complete(trial, kind)))
            first.tell(*known[-1])  # type: ignore[arg-type]
        if not kept:
            again.unlink(missing_ok=True)
        second = made(kind, space, again, MANY)
        second.restore(known)
        rest = list(second.ask(MANY))
        assert [trial.number for trial in rest] == list(range(done, MANY))
        points = {space.identity(trial.params) for trial in [*(trial for trial, _ in known), *rest]}
        assert len(points) == MANY
        # What a sampler drew in vain, or noted of the study, is lost with the storage.
        if kept or kind in ("grid", "random"):
            assert rest[:1] == whole[done : done + 1]


def test_trials_under_way_are_awaited_after_a_restart_and_not_given_again(make: Make, kind: str):
    first = make()
    under_way = list(first.ask(3))
    second = make()
    second.restore([(trial, None) for trial in under_way])
    assert [trial.number for trial in second.ask(2)] == [3, 4]
    for trial in under_way:
        second.tell(trial, complete(trial, kind))
    with pytest.raises(UnknownTrial):
        second.tell(under_way[0], Outcome("fail"))


def test_a_trial_that_ended_before_the_restart_is_not_told_again(make: Make, kind: str):
    (trial,) = make().ask(1)
    sweeper = make()
    sweeper.restore([(trial, complete(trial, kind))])
    with pytest.raises(UnknownTrial):
        sweeper.tell(trial, complete(trial, kind))


def test_what_is_known_is_restored_before_anything_is_asked(sweeper: Sweeper):
    sweeper.ask(1)
    with pytest.raises(SweepsError, match="before the first ask"):
        sweeper.restore([])


def test_the_budget_counts_trials_over_restarts(kind: str, tmp_path: Path):
    journal = tmp_path / "optuna.journal"
    known: list[tuple[Trial, Outcome | None]] = [
        (trial, Outcome("fail")) for trial in made(kind, FINITE, journal, 4).ask(3)
    ]
    sweeper = made(kind, FINITE, journal, 4)
    sweeper.restore(known)
    assert [trial.number for trial in sweeper.ask(9)] == [3]
