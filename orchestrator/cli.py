"""The command line: what was typed becomes a verb with its overrides, and every error one message and an exit code.

    python -m orchestrator method=orpo model=mistral7b -m beta=0.01,0.1,0.5

Exit codes: 0 all runs completed, 1 some failed, 2 a fault in the command, its config or data, 130 stopped.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from orchestrator.errors import BadCommand, OrchestratorError
from orchestrator.wording import one_line
from trainers.nearest import did_you_mean

VERBS = ("run", "plan", "status", "resume", "cancel", "sync", "evaluate")
_OF_A_STUDY = ("status", "resume", "cancel", "sync")
_OF_FOLDERS = (*_OF_A_STUDY, "evaluate")


@dataclass(frozen=True)
class Command:
    """What the user asked for."""

    verb: str
    overrides: tuple[str, ...]
    multirun: bool
    config_name: str
    config_dir: str | None
    # The study, for the verbs that work on one; studies and runs, for the one that works on several.
    folders: tuple[Path, ...]
    # What Hydra is to tell instead: its flags, in the order in which it takes them.
    about: tuple[str, ...]
    # Of `evaluate`: which checkpoints, and whether what is there is done again.
    checkpoint: str | None = None
    again: bool = False


def main(argv: Sequence[str]) -> int:
    """Carry out a command line; returns its exit code."""
    try:
        command = parse(argv)
        if command.about:
            return _about(command)
        from orchestrator import commands  # what follows needs more imports than --help may cost

        return commands.carry_out(command, argv)
    except OrchestratorError as error:
        return _refuse(error)
    except KeyboardInterrupt:
        print("stopped before anything was started", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): not our fault, and not worth a trace.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parse(argv: Sequence[str]) -> Command:
    """Sort words into verb, overrides and flags, which may stand in any order. Raises BadCommand."""
    parser = _parser()
    flags, words = parser.parse_known_intermixed_args(list(argv))
    unknown = [word for word in words if word.startswith("-")]
    overrides = [*flags.words, *(word for word in words if word not in unknown)]
    faults = [f"{word}: no such option; see --help" for word in unknown]
    bare = [word for word in overrides if "=" not in word and word[:1] not in ("~", "+")]
    overrides = [word for word in overrides if word not in bare]
    # The verb may stand anywhere; what else has no "=" is a folder, or a slip.
    verb = next((word for word in bare if word in VERBS), "run")
    bare.remove(verb) if verb in bare else None
    if verb not in _OF_FOLDERS:
        faults += [_no_verb(word) for word in bare]
    elif verb in _OF_A_STUDY and len(bare) != 1:
        faults.append(f"{verb}: needs the folder of one study: python -m orchestrator {verb} outputs/STUDY")
    elif not bare:
        faults.append(f"{verb}: needs folders of studies or runs: python -m orchestrator {verb} outputs/STUDY")
    if verb != "evaluate":
        given = {"--checkpoint": flags.checkpoint is not None, "--again": flags.again}
        faults += [f"{flag} goes with evaluate" for flag, is_given in given.items() if is_given]
    if faults:
        raise BadCommand(faults)
    return Command(
        verb,
        tuple(overrides),
        flags.multirun,
        flags.config_name,
        flags.config_dir,
        tuple(map(Path, bare)) if verb in _OF_FOLDERS else (),
        _about_flags(flags),
        flags.checkpoint,
        flags.again,
    )


def _no_verb(word: str) -> str:
    hint = did_you_mean(word, VERBS)
    return f"{one_line(word)!r}: no such verb; {hint}(verbs: {', '.join(VERBS)}; overrides have the form key=value)"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadCommand([f"{message}; see --help"])


def _parser() -> argparse.ArgumentParser:
    """Hydra's own flags; their help is Hydra's too."""
    parser = _Parser(prog="python -m orchestrator", add_help=False, allow_abbrev=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--run", "-r", action="store_true")
    parser.add_argument("--config-name", "-cn", default="config")
    parser.add_argument("--config-dir", "-cd")
    for flag in ("--help", "--hydra-help", "--version", "--resolve", "--shell-completion"):
        short = {"--help": ["-h"], "--shell-completion": ["-sc"]}.get(flag, [])
        parser.add_argument(flag, *short, action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--package", "-p")
    parser.add_argument("--checkpoint")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=_INFO)
    return parser


_INFO = ["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]


def _about_flags(flags: argparse.Namespace) -> tuple[str, ...]:
    """The flags that ask Hydra to tell something, none where the command is to do something."""
    asked = [f"--{name.replace('_', '-')}" for name in ("help", "hydra_help", "version", "shell_completion")
             if getattr(flags, name)]  # fmt: skip
    asked += ["--cfg", flags.cfg] if flags.cfg else []
    asked += ["--info", flags.info] if flags.info else []
    if not asked:
        if flags.resolve or flags.package:
            raise BadCommand(["--resolve and --package go with --cfg"])
        return ()
    asked += ["--resolve"] if flags.resolve else []
    return (*asked, *(["--package", flags.package] if flags.package else []))


def _about(command: Command) -> int:
    """Let Hydra tell about itself and the config; it wants flags before overrides."""
    if command.about[:2] == ("--cfg", "job") and "--package" not in command.about:
        return _show_config(command)
    from orchestrator.completion import bash_script, for_hydra

    if command.about == ("--shell-completion",) and command.overrides == ("install=bash",):
        print(bash_script())
        return 0
    folder = ["--config-dir", command.config_dir] if command.config_dir else []
    where = [*folder, "--config-name", command.config_name]
    if command.about == ("--shell-completion",):
        os.environ["COMP_LINE"], where = for_hydra(os.environ.get("COMP_LINE", ""))
    import hydra

    from orchestrator.config import CONF

    sys.argv = ["orchestrator", *command.about, *where, *command.overrides]
    hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(lambda _: None)()
    return 0


def _show_config(command: Command) -> int:
    """The config as a run would get it, with the shortcuts where they belong."""
    import yaml

    from orchestrator.config import Source, composer

    with composer(Source(command.config_name, command.config_dir)) as compose:
        parsed = compose.parse(command.overrides)
        swept = [f"{sweep.key}: --cfg shows one config, and this sweeps" for sweep in parsed.sweeps]
        if parsed.faults or swept:
            raise BadCommand([*parsed.faults, *swept])
        config = compose.compose(parsed.fixed).sound()
    print(yaml.safe_dump(config, sort_keys=False), end="")
    return 0


def _refuse(error: OrchestratorError) -> int:
    faults = getattr(error, "faults", (str(error),))
    if len(faults) == 1:
        print(f"error: {faults[0]}", file=sys.stderr)
    else:
        print(f"{len(faults)} errors, nothing was started:", file=sys.stderr)
        for fault in faults:
            print(f"  - {fault}", file=sys.stderr)
    return 2


def command_line(argv: Sequence[str]) -> str:
    """The command as one could type it again."""
    return shlex.join(["python", "-m", "orchestrator", *argv])
