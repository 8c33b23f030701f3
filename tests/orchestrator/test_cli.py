"""The command line: words in any order, and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import command_line, main, parse
from orchestrator.errors import BadCommand


def test_flags_may_stand_between_overrides():
    """Hydra's own parser refuses this line."""
    command = parse(["method=orpo", "model=mistral7b", "-m", "beta=0.01,0.1,0.5"])
    assert command.multirun
    assert command.overrides == ("method=orpo", "model=mistral7b", "beta=0.01,0.1,0.5")
    assert command.verb == "run"


@pytest.mark.parametrize(
    "line",
    [
        "plan method=dpo -m beta=1,2",
        "-m plan method=dpo beta=1,2",
        "plan -m method=dpo beta=1,2",
        "plan method=dpo beta=1,2 -m",
    ],
)
def test_verb_and_flags_may_stand_anywhere(line: str):
    command = parse(line.split())
    assert (command.verb, command.multirun, command.overrides) == ("plan", True, ("method=dpo", "beta=1,2"))


def test_config_name_and_folder_are_hydras_flags():
    command = parse(["-cn", "top", "method=dpo", "-cd", "mine"])
    assert (command.config_name, command.config_dir) == ("top", "mine")


def test_an_override_may_begin_with_a_sign():
    assert parse(["+experiment=x", "~peft"]).overrides == ("+experiment=x", "~peft")


@pytest.mark.parametrize("verb", ["status", "resume", "cancel"])
def test_verbs_of_a_study_take_its_folder(verb: str):
    command = parse([verb, "outputs/a", "launcher.workers=2"])
    assert command.folders == (Path("outputs/a"),)
    assert command.overrides == ("launcher.workers=2",)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("plann method=dpo", "'plann': no such verb"),
        ("--betta method=dpo", "--betta: no such option"),
        ("status", "needs the folder of one study"),
        ("resume a b", "needs the folder of one study"),
        ("--resolve", "--resolve and --package go with --cfg"),
        ("--cfg nonsense", "invalid choice"),
    ],
)
def test_what_is_wrong_with_a_line_is_told(line: str, told: str):
    with pytest.raises(BadCommand, match=told.split(";")[0]):
        parse(line.split())


def test_faults_of_a_line_are_told_together():
    with pytest.raises(BadCommand) as caught:
        parse(["plann", "--foo", "--bar"])
    assert len(caught.value.faults) == 3


def test_faults_go_to_stderr_and_exit_with_2(capsys: pytest.CaptureFixture[str]):
    assert main(["method=dpoo", "training.epoch=2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "2 errors, nothing was started" in captured.err
    assert "Traceback" not in captured.err


def test_the_config_is_shown_with_its_shortcuts_settled(capsys: pytest.CaptureFixture[str]):
    assert main(["--cfg", "job", "method=ipo", "beta=0.7", "seed=3"]) == 0
    out = capsys.readouterr().out
    assert "tau: 0.7" in out
    assert "seed: 3" in out
    assert "lambda" not in out


def python(*words: str, repository: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], cwd=repository, capture_output=True, text=True, env={**os.environ, **env}, check=False
    )


@pytest.fixture(scope="module")
def helped(repository: Path) -> subprocess.CompletedProcess[str]:
    """What --help prints, and on stderr what it has imported."""
    code = (
        "import sys; from orchestrator.cli import main\n"
        "try: main(['method=dpo', '--help'])\n"
        "finally: print(*sys.modules, file=sys.stderr)\n"
    )
    return python("-c", code, repository=repository)


def test_help_names_every_group_with_its_options(helped: subprocess.CompletedProcess[str], repository: Path):
    assert helped.returncode == 0
    for group in sorted(path for path in (repository / "conf").iterdir() if path.is_dir()):
        options = ", ".join(sorted(path.stem for path in group.glob("*.yaml")))
        assert f"{group.name}: {options}" in helped.stdout


def test_help_imports_nothing_heavy(helped: subprocess.CompletedProcess[str]):
    heavy = {"torch", "transformers", "trl", "peft", "datasets", "wandb", "pandas", "numpy"}
    assert heavy & set(helped.stderr.split()) == set()
    assert "orchestrator.cli" in helped.stderr.split()


def test_planning_imports_nothing_heavy(repository: Path):
    code = (
        "import sys, orchestrator.commands\n"
        "heavy = {'torch', 'transformers', 'trl', 'peft', 'datasets', 'wandb', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = python("-c", code, repository=repository)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["--info", "defaults"], ["--cfg", "hydra"], ["--hydra-help"], ["--version"]])
def test_hydras_own_flags_work(words: list[str], repository: Path):
    done = python("-m", "orchestrator", *words, repository=repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.fixture(scope="module")
def script(repository: Path) -> str:
    """What a user evaluates."""
    return python("-m", "orchestrator", "--shell-completion", "install=bash", repository=repository).stdout


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("plan -m method=o", "method=orpo"),
        ("-cd {folder} model=min", "model=mine"),
        ("launcher.work", "launcher.workers="),
    ],
)
def test_tab_completes_groups_options_and_keys(
    script: str, repository: Path, tmp_path: Path, typed: str, completed: str
):
    """In a real bash."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [hf]\n")
    line = f"{sys.executable} -m orchestrator {typed.format(folder=tmp_path)}"
    ask = f'{script}\nCOMP_LINE="{line}"; COMP_POINT={len(line)}; _orchestrator_completion; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", ask], cwd=repository, capture_output=True, text=True, check=True)
    assert completed in done.stdout.split()


@pytest.mark.parametrize("words", ["status .", "--cfg job", "plan"])
def test_a_terminal_of_another_alphabet_gets_no_traceback(words: str, repository: Path):
    done = python("-m", "orchestrator", *words.split(), repository=repository, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_error(repository: Path):
    shell = f"set -o pipefail; {sys.executable} -m orchestrator --cfg job | true"
    done = subprocess.run(["bash", "-c", shell], cwd=repository, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_the_command_is_kept_as_one_could_type_it_again():
    assert command_line(["beta=choice(1,2)", "-m"]) == "python -m orchestrator 'beta=choice(1,2)' -m"
