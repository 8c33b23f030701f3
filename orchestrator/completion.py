"""Tab completion in bash: Hydra's, made to work for `python -m orchestrator`, which Hydra's own script does not know.

eval "$(python -m orchestrator --shell-completion install=bash)"
python -m orchestrator method=o<TAB>  ->  method=orpo
"""

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


def for_hydra(line: str) -> str:
    """The typed line as Hydra's completion expects it: the program's name, then overrides alone.

    "python -m orchestrator plan method=dpo -m model=t" -> "orchestrator method=dpo model=t"
    """
    words = line.partition(" -m orchestrator")[2].split(" ")
    last = words[-1] if words else ""
    kept = [word for word in words[:-1] if "=" in word and word not in VERBS]
    return " ".join(["orchestrator", *kept, last])
