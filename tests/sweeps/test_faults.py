"""A controller that is killed anywhere comes back to the same trials: none lost, none repeated.

A simulated controller writes a folder for each trial it was given, later a result into it, and tells the sweeper. It is
killed at random writes of the storage and at random moments between, its journal is cut or lost, and another takes over
with what the folders know.
"""

import random
from pathlib import Path

import pytest

from sweeps.dimensions import Choice, Real
from sweeps.errors import StorageError
from sweeps.optuna_sweeper import OptunaSweeper
from sweeps.samplers import SamplerSettings
from sweeps.space import Part, Space, When
from sweeps.types import Outcome, Trial
from tests.sweeps.faulty import Killed, dying

pytestmark = pytest.mark.slow

SPACE = Space(
    {"method": Choice(("dpo", "simpo", "sft")), "lr": Real(1e-6, 1e-3, log=True)},
    conditions=[
        When({"method": ["dpo"]}, Part({"beta": Real(0.01, 0.5)})),
        When({"method": ["simpo"]}, Part({"beta": Real(2, 10)})),
    ],
    enqueue=[{"method": "dpo", "beta": 0.1}, {"method": "sft"}],
    constraints=["beta * lr < 5e-3"],
)
MANY = 24
ENDINGS = [
    lambda rng: Outcome("complete", (rng.random(),)),
    lambda rng: Outcome("complete", (float("nan"),)),
    lambda rng: Outcome("fail"),
    lambda rng: Outcome("pruned", reports={1: rng.random()}),
]


class Folders:
    """What is on disk of the runs."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[Trial, Outcome | None]] = {}

    def begin(self, trial: Trial) -> None:
        assert trial.number not in self.known, "a trial was given again although it has a folder"
        self.known[trial.number] = (trial, None)

    def end(self, trial: Trial, outcome: Outcome) -> None:
        self.known[trial.number] = (trial, outcome)

    def running(self) -> list[Trial]:
        return [trial for trial, outcome in self.known.values() if outcome is None]


def control(sweeper: OptunaSweeper, folders: Folders, rng: random.Random, patience: int, chance: float = 0.05) -> bool:
    """Up to three runs at once, ended in any order; whether the study is over. Killed after so many actions."""
    sweeper.restore(list(folders.known.values()))
    for _ in range(patience):
        running = folders.running()
        trials = sweeper.ask(1) if len(running) < 3 else []
        if trials and rng.random() < chance:
            raise Killed  # between being given and having a folder
        for trial in trials:
            folders.begin(trial)
        if not trials and not running:
            return True
        if running and (rng.random() < 0.6 or not trials):
            trial = rng.choice(running)
            outcome = rng.choice(ENDINGS)(rng)
            folders.end(trial, outcome)
            if rng.random() < chance:
                raise Killed  # between its result and being told
            sweeper.tell(trial, outcome)
    raise Killed


def damage(journal: Path, rng: random.Random) -> None:
    """Cut it anywhere, lose it, write over its middle, or leave it."""
    kind = rng.choice(["leave", "leave", "cut", "lose", "overwrite"])
    if not journal.exists() or kind == "leave":
        return
    text = journal.read_bytes()
    if kind == "lose":
        journal.unlink()
    elif kind == "cut":
        journal.write_bytes(text[: rng.randrange(len(text) + 1)])
    elif text:
        at = rng.randrange(len(text))
        journal.write_bytes(text[:at] + b"\x00" * min(20, len(text) - at) + text[at + 20 :])


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 12))])
@pytest.mark.parametrize("kind", ["random", "tpe", "qmc", "cmaes", "nsga2"])
def test_a_killed_controller_comes_back_to_the_same_trials(kind: str, seed: int, tmp_path: Path):
    rng = random.Random(f"{kind} {seed}")
    print("seed:", kind, seed)
    journal, folders = tmp_path / "optuna.journal", Folders()
    over, starts = False, 0
    while not over:
        starts += 1
        assert starts < 200
        given = dict(folders.known)
        try:
            storage = dying(str(journal), rng.randrange(12, 60), after=rng.random() < 0.5)
            sweeper = OptunaSweeper(SPACE, SamplerSettings(kind, seed), n_trials=MANY, storage=storage)
            over = control(sweeper, folders, rng, rng.randrange(1, 40))
        except (Killed, StorageError):
            damage(journal, rng)
            # A journal that was cut is mended by opening its file, not by a storage that is handed over.
            OptunaSweeper(SPACE, SamplerSettings(kind, seed), n_trials=MANY, storage=journal)
        for number, (trial, _) in given.items():
            assert folders.known[number][0] == trial
    trials = [trial for trial, _ in folders.known.values()]
    assert sorted(folders.known) == list(range(MANY))
    assert len({SPACE.identity(trial.params) for trial in trials}) == MANY
    assert all(SPACE.fits(trial.params) for trial in trials)
    last = OptunaSweeper(SPACE, SamplerSettings(kind, seed), n_trials=MANY, storage=journal)
    last.restore(list(folders.known.values()))
    assert list(last.ask(1)) == []
    assert {trial.number: outcome.state for trial, outcome in last.told} == {
        number: outcome.checked(1).state for number, (_, outcome) in folders.known.items() if outcome is not None
    }


@pytest.mark.parametrize("after", [True, False], ids=["after it", "before it"])
def test_a_controller_killed_at_each_write_in_turn_loses_nothing(after: bool, tmp_path: Path):
    for writes in range(40):
        journal, folders = tmp_path / f"journal-{writes}", Folders()
        settings = SamplerSettings("tpe", 1, {"n_startup_trials": 2})
        try:
            storage = dying(str(journal), writes, after=after)
            sweeper = OptunaSweeper(SPACE, settings, n_trials=6, storage=storage)
            control(sweeper, folders, random.Random(1), 100, 0)
        except Killed:
            pass
        second = OptunaSweeper(SPACE, settings, n_trials=6, storage=journal)
        assert control(second, folders, random.Random(2), 1000, 0)
        assert sorted(folders.known) == list(range(6))
