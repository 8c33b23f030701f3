"""Kinds of samplers: their arguments, what they cannot search, and what auto chooses."""

import re
import subprocess
import sys
from typing import Any

import pytest

from sweeps.dimensions import Choice, Integer, Real
from sweeps.errors import SamplerError, StorageError
from sweeps.make import make_sweeper
from sweeps.optuna_sweeper import OptunaSweeper
from sweeps.samplers import SamplerSettings, resolve
from sweeps.space import Part, Space, When
from sweeps.types import Direction, Outcome

BETA = Space({"beta": Real(0.005, 0.5, log=True)})
LINE = Space({"x": Real(-1, 1), "y": Real(-1, 1)})


@pytest.mark.parametrize(
    ("kind", "arguments", "told"),
    [
        ("tpes", {}, r"no sampler tpes \(did you mean tpe\?\); there are grid, random, tpe, gp"),
        (
            "tpe",
            {"n_startup": 3},
            r"no argument n_startup \(did you mean n_startup_trials\?\); it takes n_startup_trials",
        ),
        ("random", {"x": 1}, "it takes none"),
        ("grid", {"x": 1}, "it takes none"),
        ("tpe", {"seed": 1}, "no argument seed"),
    ],
)
def test_a_kind_or_argument_that_there_is_not_is_told_with_those_there_are(kind, arguments, told: str):
    with pytest.raises(SamplerError, match=told):
        SamplerSettings(kind, 0, arguments)


def test_a_value_that_optuna_refuses_is_told():
    with pytest.raises(SamplerError, match=r"sampler nsga2: .*population"):
        OptunaSweeper(BETA, SamplerSettings("nsga2", 0, {"population_size": 1}))


def test_brute_force_over_a_continuous_range_names_the_others():
    with pytest.raises(SamplerError, match=r"range of beta has no last one.*tpe"):
        OptunaSweeper(BETA, SamplerSettings("bruteforce"))


def test_cmaes_with_two_objectives_names_the_others():
    with pytest.raises(SamplerError, match="one objective, not 2: choose nsga2"):
        OptunaSweeper(LINE, SamplerSettings("cmaes"), ("maximize", "maximize"))


@pytest.mark.parametrize(
    ("space", "objectives", "n_trials", "kind"),
    [
        (Space({"n": Integer(1, 5)}), 1, 5, "bruteforce"),
        (Space({"n": Integer(1, 5)}), 1, None, "bruteforce"),
        (Space({"n": Integer(1, 5)}), 1, 4, "gp"),
        (BETA, 1, 50, "gp"),
        (BETA, 1, 500, "tpe"),
        (LINE, 1, None, "cmaes"),
        (LINE, 2, 50, "tpe"),
        (LINE, 2, 1000, "nsga2"),
        (
            Space({"m": Choice((1, 2)), "x": Real(0, 1)}, conditions=[When({"m": [1]}, Part({"y": Real(0, 1)}))]),
            1,
            50,
            "tpe",
        ),
    ],
)
def test_auto_chooses_by_space_and_budget(space: Space, objectives: int, n_trials: int | None, kind: str):
    assert resolve(SamplerSettings("auto"), space, objectives, n_trials).kind == kind


@pytest.mark.parametrize("kind", ["tpe", "cmaes", "nsga2", pytest.param("gp", marks=pytest.mark.slow)])
def test_samplers_learn_from_what_they_are_told(kind: str):
    """The later half of the trials is closer to the optimum at 0 than what chance would bring."""
    arguments = {"nsga2": {"population_size": 10}}
    n = 30 if kind == "gp" else 60
    sweeper = OptunaSweeper(LINE, SamplerSettings(kind, 1, arguments.get(kind, {})), ("minimize",), n_trials=n)
    waiting, distances = [], []
    while trials := sweeper.ask(4 - len(waiting)) or waiting:
        waiting += [trial for trial in trials if trial not in waiting]
        trial = waiting.pop(len(distances) % len(waiting))
        distances.append(sum(float(value) ** 2 for value in trial.params.values()))  # type: ignore[arg-type]
        sweeper.tell(trial, Outcome("complete", (distances[-1],)))
    assert len(distances) == n
    assert sum(distances[n // 2 :]) / (n - n // 2) < 0.5  # by chance 2/3


def test_tpe_learns_where_the_constraints_are():
    space = Space(LINE.dimensions, constraints=["x + y < -0.8"])
    sweeper = OptunaSweeper(space, SamplerSettings("tpe", 1), n_trials=40)
    while trials := sweeper.ask(1):
        sweeper.tell(trials[0], Outcome("complete", (sum(map(float, trials[0].params.values())),)))  # type: ignore[arg-type]
    assert all(space.fits(trial.params) for trial in sweeper.trials)


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        (
            "postgresql+psycopg://me:secret@127.0.0.1:1/none",
            r"postgresql\+psycopg://me:\*\*\*@127.0.0.1:1/none cannot be used",
        ),
        ("nonsense://x", "nonsense://x cannot be used"),
        ("mysql+mysqldb://x/y", "cannot be used: No module named 'MySQLdb'"),
        ("/dev/null/x/journal", "/dev/null/x/journal cannot be used"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_told_in_one_message(storage: str, told: str):
    with pytest.raises(StorageError, match=told) as error:
        OptunaSweeper(BETA, SamplerSettings("random"), storage=storage)
    assert "secret" not in str(error.value)
    assert len(str(error.value)) < 800


def test_a_study_in_sqlite_goes_on(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    first = make_sweeper(BETA, SamplerSettings("tpe", 1), storage=url)
    (trial,) = first.ask(1)
    first.tell(trial, Outcome("pruned", reports={1: 0.5, 2: float("nan")}))
    second = make_sweeper(BETA, SamplerSettings("tpe", 1), storage=url)
    second.restore([(trial, Outcome("pruned"))])
    assert [trial.number for trial in second.ask(2)] == [1, 2]


def test_spaces_and_types_are_imported_without_optuna():
    modules = "sweeps.make, sweeps.pruning, sweeps.space_data, sweeps.space_check"
    code = f"import sys, {modules}; print('optuna' in sys.modules, 'scipy' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]


def test_several_objectives_are_searched_by_tpe():
    directions: tuple[Direction, ...] = ("maximize", "minimize")
    sweeper = OptunaSweeper(LINE, SamplerSettings("tpe", 1, {"n_startup_trials": 3}), directions, n_trials=12)
    while trials := sweeper.ask(2):
        for trial in trials:
            x = float(trial.params["x"])  # type: ignore[arg-type]
            outcome = Outcome("pruned", reports={1: x}) if trial.number % 5 == 0 else Outcome("complete", (x, x * x))
            sweeper.tell(trial, outcome)
    assert 0 < len(sweeper.pareto()) < 10


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("tpe", {"n_startup_trials": "few"}, "n_startup_trials='few' is no int"),
        ("tpe", {"n_startup_trials": True}, "n_startup_trials=True is no int"),
        ("tpe", {"group": 1}, "group=1 is no bool"),
        (
            "nsga2",
            {"mutation_prob": "x", "crossover_prob": "y"},
            "mutation_prob='x' is no float or None; crossover_prob='y'",
        ),
    ],
)
def test_an_argument_of_another_type_is_refused_on_making(kind: str, arguments: dict[str, Any], said: str):
    with pytest.raises(SamplerError, match=re.escape(said)):
        SamplerSettings(kind, arguments=arguments)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("nsga2", {"mutation_prob": None, "crossover_prob": 1}),
        ("tpe", {"multivariate": True}),
        ("qmc", {"qmc_type": "halton"}),
    ],
)
def test_arguments_of_the_declared_types_are_taken(kind: str, arguments: dict[str, Any]):
    assert SamplerSettings(kind, arguments=arguments).arguments == arguments
