"""Taking up a study: what the folders know against what the storage holds."""

from pathlib import Path

import pytest

from sweeps.dimensions import Choice, Real
from sweeps.errors import SpaceChanged
from sweeps.optuna_sweeper import OptunaSweeper
from sweeps.samplers import SamplerSettings
from sweeps.space import Space
from sweeps.types import Direction, Outcome, Trial

SPACE = Space({"method": Choice(("dpo", "ipo")), "beta": Real(0.01, 1, log=True)})
DONE = Outcome("complete", (0.5,))


def opened(journal: Path | None, space: Space = SPACE, n_trials: int | None = None, **more: bool) -> OptunaSweeper:
    return OptunaSweeper(space, SamplerSettings("random", 3), n_trials=n_trials, storage=journal, **more)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "study" / "optuna.journal"


def test_a_trial_that_has_no_folder_is_handed_out_again_first(journal: Path):
    lost, kept = opened(journal).ask(2)
    sweeper = opened(journal)
    sweeper.restore([(kept, None)])
    assert sweeper.ask(1) == [lost]
    assert [trial.number for trial in sweeper.ask(1)] == [2]


def test_a_trial_whose_folder_was_taken_away_is_handed_out_again(journal: Path):
    sweeper = opened(journal)
    (trial,) = sweeper.ask(1)
    sweeper.tell(trial, DONE)
    again = opened(journal)
    again.restore([])
    assert again.ask(1) == [trial]
    again.tell(trial, Outcome("fail"))
    assert [outcome for _, outcome in opened(journal).told] == [Outcome("fail")]


def test_an_outcome_that_the_storage_missed_is_told_to_it(journal: Path):
    (trial,) = opened(journal).ask(1)
    opened(journal).restore([(trial, DONE)])
    assert opened(journal).told == [(trial, DONE)]


def test_a_trial_that_the_storage_lacks_is_added(journal: Path):
    trials = opened(journal).ask(3)
    journal.unlink()
    sweeper = opened(journal)
    sweeper.restore([(trials[0], DONE), (trials[1], None), (trials[2], Outcome("fail"))])
    sweeper.tell(trials[1], DONE)
    assert [outcome.state for _, outcome in opened(journal).told] == ["complete", "complete", "fail"]


def test_the_folders_are_believed_where_the_storage_says_something_else(journal: Path):
    sweeper = opened(journal)
    for trial in sweeper.ask(2):
        sweeper.tell(trial, DONE)
    other = Trial(0, {"method": "ipo", "beta": 0.123})
    again = opened(journal)
    again.restore([(other, Outcome("complete", (0.9,))), (trial, None)])
    again.tell(trial, Outcome("complete", (0.8,)))
    assert opened(journal).told == [(other, Outcome("complete", (0.9,))), (trial, Outcome("complete", (0.8,)))]


def test_without_folders_the_storage_is_believed(journal: Path):
    sweeper = opened(journal)
    first, second = sweeper.ask(2)
    sweeper.tell(first, DONE)
    again = opened(journal)
    assert again.told == [(first, DONE)]
    assert again.ask(1) == [second]


def test_half_a_last_line_is_cut_off_and_told(journal: Path):
    first, second = opened(journal).ask(2)
    journal.write_bytes(journal.read_bytes()[:-10])
    sweeper = opened(journal)
    assert sweeper.news == ["the last line of optuna.journal was half written, and is cut off"]
    sweeper.restore([(first, None), (second, None)])
    assert [trial.number for trial in sweeper.ask(1)] == [2]


def test_a_damaged_journal_is_put_aside_and_made_anew_from_the_folders(journal: Path):
    trials = opened(journal).ask(2)
    journal.write_bytes(b"\x00\x00" + journal.read_bytes())
    sweeper = opened(journal)
    assert "optuna.journal.damaged-1" in sweeper.news[0]
    sweeper.restore([(trial, DONE) for trial in trials])
    assert opened(journal).told == [(trial, DONE) for trial in trials]


@pytest.mark.slow
def test_a_lock_that_a_killed_controller_left_is_broken(journal: Path):
    opened(journal).ask(1)
    Path(f"{journal}.lock").symlink_to(journal)
    assert len(opened(journal).trials) == 1  # nothing is written, so nothing waits
    assert len(opened(journal, n_trials=2).ask(2)) == 2


def test_a_space_that_has_changed_is_refused(journal: Path):
    opened(journal).ask(1)
    with pytest.raises(SpaceChanged, match="began with another space"):
        opened(journal, Space({"beta": Real(0.01, 1)}))


def test_what_is_enqueued_may_change_and_comes_next(journal: Path):
    opened(journal).ask(2)
    sweeper = opened(journal, Space(SPACE.dimensions, enqueue=[{"beta": 0.25}]))
    sweeper.restore([(trial, None) for trial in sweeper.trials])
    assert [trial.params["beta"] == 0.25 for trial in sweeper.ask(2)] == [True, False]


def test_a_changed_space_goes_on_with_the_trials_that_fit(journal: Path):
    first = opened(journal)
    trials = first.ask(6)
    for trial in trials:
        first.tell(trial, DONE)
    narrow = Space({"method": Choice(("dpo", "ipo")), "beta": Real(0.01, 0.1, log=True)})
    fitting = [trial for trial in trials if narrow.fits(trial.params)]
    assert 0 < len(fitting) < 6
    without = opened(journal, narrow, fit_changed=True)
    assert [trial for trial, _ in without.told] == fitting
    sweeper = opened(journal, narrow, n_trials=8)
    sweeper.restore([(trial, DONE) for trial in trials])
    new = sweeper.ask(9)
    assert [trial.number for trial in new] == [6, 7]
    assert all(narrow.fits(trial.params) for trial in new)


def test_other_objectives_are_refused(journal: Path):
    opened(journal).ask(1)
    two: tuple[Direction, ...] = ("maximize", "minimize")
    with pytest.raises(SpaceChanged, match="another objectives"):
        OptunaSweeper(SPACE, SamplerSettings("random", 3), two, storage=journal)


def test_the_study_says_what_made_its_trials(journal: Path):
    import optuna

    OptunaSweeper(SPACE, SamplerSettings("tpe", 7, {"n_startup_trials": 4}), storage=journal, metrics=["eval/accuracy"])
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    study = optuna.load_study(study_name="study", storage=optuna.storages.JournalStorage(backend))
    told = study.user_attrs
    assert (told["sampler"], told["seed"], told["optuna"]) == ("tpe", 7, optuna.__version__)
    assert told["sampler_arguments"] == {"n_startup_trials": 4}
    assert Space.from_dict(told["space"]) == SPACE
    assert study.metric_names == ["eval/accuracy"]
