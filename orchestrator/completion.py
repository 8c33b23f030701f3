"""Tab completion in bash: Hydra's, made to work for `python -m orchestrator`, which Hydra's own script does not know.

eval "$(python -m orchestrator --shell-completion install=bash)"
python -m orchestrator method=o<TAB>  ->  method=orpo
"""

import itertools

from orchestrator.cli import VERBS

_SCRIPT = r"""
_orchestrator_completion() {
    case "$COMP_LINE" in
        *python*" -m orchestrator "*) ;;
        *) COMPREPLY=(); return ;;
    esac
    local word="${COMP_LINE:0:$COMP_POINT}"
    word="${word##* }"
    local choices
    choices=$(COMP_LINE="${COMP_LINE:0:$COMP_POINT}" "${COMP_LINE%% *}" -m orchestrator --shell-completion query=bash)
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _orchestrator_completion python python3
"""


def bash_script() -> str:
    """What a shell evaluates to have completion."""
    return _SCRIPT.strip()


def for_hydra(line: str) -> tuple[str, list[str]]:
    """The typed line as Hydra's completion expects it, overrides alone, and the flags that say where options are.

    "python -m orchestrator plan -cd mine -m model=t" -> ("orchestrator model=t", ["--config-dir", "mine"])
    """
    words = line.partition(" -m orchestrator")[2].split(" ")
    *before, last = words
    kept = [word for word in before if "=" in word and word not in VERBS]
    flags = {"-cd": "--config-dir", "--config-dir": "--config-dir", "-cn": "--config-name"}
    given = [(flags[flag], value) for flag, value in itertools.pairwise(before) if flag in flags]
    return " ".join(["orchestrator", *kept, last]), [word for pair in given for word in pair]
