"""What does not go together in a run's config, each part of which is sound by itself."""

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from trainers.config import RunConfig
from trainers.data_config import Bandit, OnePair, Unpaired
from trainers.evaluation_config import START
from trainers.method_config import Backtranslation, OnlineDPO
from trainers.methods import GOLD, METHODS, STILL, Method


@dataclass(frozen=True)
class Mismatch:
    """Why a method does not go with a kind of reference, and what to change."""

    # Whatever methods and references are in question: "a reference is needed".
    why: str
    fault: str


def mismatch(name: str, kind: str) -> Mismatch | None:
    """Why a method cannot have a reference of that kind, None where it can."""
    method = METHODS[name]
    if method.reference == "moving" and kind != "moving":
        return Mismatch(
            "only a reference that moves will do",
            f"method={name} needs a reference that moves, but reference={kind}: use reference=moving, or method=dpo",
        )
    if method.needs_reference and kind == "none":
        return Mismatch(
            "a reference is needed",
            f"method={name} needs a reference, but reference=none: "
            "use reference=self, or reference=model reference.path=...",
        )
    if kind == "moving" and (method.reference not in ("moving", "fixed") or name in STILL):
        return Mismatch(
            "a reference that moves is of no use",
            f"method={name} has no use for reference=moving: use reference=self",
        )
    if method.data_format == "comparisons" and kind not in ("self", "none", "moving"):
        return Mismatch(
            "no policy is trained that could be compared with it",
            f"method={name} trains no policy, and compares with no reference: leave reference=self",
        )
    return None


def conflicts(config: RunConfig) -> Iterable[str]:
    """Each in the words of the command line, saying what would go."""
    name, kind = config.method.name, config.reference.kind
    method = METHODS[name]
    unmatched = mismatch(name, kind)
    if unmatched is not None:
        yield unmatched.fault
    if kind == "moving" and config.reference.quantization != "same":
        yield "reference.quantization: a reference that moves has the policy's own weights: leave it as same"
    yield from _unlearnable(config, method)
    if method.data_format == "comparisons" and config.start.kind != "base":
        yield f"method={method.name} trains no policy, and begins at no other run's: leave start=base"
    yield from _unrewarded(config)
    yield from _unexamined(config)
    quantized = config.quantization.kind != "none" or config.model.prequantized
    if quantized and config.peft.kind == "none":
        yield (
            f"peft=none trains every weight, but the weights of model={config.model.name} are in 4 bits: "
            "use peft=lora, or a model and quantization=none that are not quantised"
        )


# What a method makes of pairs, where it is not chosen and rejected that it learns from together.
_OF_PAIRS = {"comparisons": "learns from pairs", "prompts": "makes its own data of pairs"}


def _unlearnable(config: RunConfig, method: Method) -> Iterable[str]:
    """Faults of data that are not what the method learns from."""
    if isinstance(config.data, Unpaired) and method.data_format == "pairs":
        others = [name for name, other in METHODS.items() if other.data_format in ("unpaired", "demonstrations")]
        yield (
            f"method={method.name} learns from pairs, but data=unpaired has answers one by one: "
            f"use method={' or '.join(others)}, or data with pairs"
        )
    if isinstance(config.data, Unpaired) and method.data_format in _OF_PAIRS:
        yield (
            f"method={method.name} {_OF_PAIRS[method.data_format]}, but data=unpaired has answers one by one: "
            "use data with pairs"
        )
    if isinstance(config.data, Bandit | OnePair) and method.data_format in _OF_PAIRS:
        yield f"method={method.name} needs texts, but data={config.data.kind} is token ids: use other data"


def _unrewarded(config: RunConfig) -> Iterable[str]:
    """Faults of what says what answers are worth: none is given, two are, or one that does not know these data."""
    method = config.method
    given = getattr(method, "reward_model", None)
    judged = isinstance(method, OnlineDPO) and None not in (method.judge.base_url, method.judge.model)
    unused = isinstance(method, Backtranslation) and method.score != "reward_model"
    if "reward_model" in type(method).model_fields and given is None and not judged and not unused:
        yield (
            f"method={method.name} needs a reward model: give method.reward_model=FOLDER or a hub id (a "
            "sequence-classification model of one label, as method=reward trains and keeps in its run's adapter/ or "
            f"model/), or method.reward_model={GOLD} with data=toy"
            + (", or a judge: method.judge.base_url=... method.judge.model=..." * isinstance(method, OnlineDPO))
        )
    if isinstance(method, OnlineDPO) and method.judge.base_url is not None:
        yield from _no_endpoint("method.judge", method.judge.base_url)
    if given is not None and judged:
        yield "method.reward_model and method.judge both say what answers are worth: give one of them"
    yield from _no_such_gold("method.reward_model", given, config)


def _no_such_gold(key: str, given: str | None, config: RunConfig) -> Iterable[str]:
    if given == GOLD and config.data.kind != "toy":
        yield f"{key}={GOLD} knows the built-in world only: use data=toy, or another reward model"
    elif given is not None and given != GOLD and given.startswith("builtin:"):
        yield f"{key}={given}: the only one built in is {GOLD}"


def _unexamined(config: RunConfig) -> Iterable[str]:
    """Faults of who is to rate the policy's answers, or to answer beside it."""
    evaluation = config.evaluation
    judge = evaluation.judge
    yield from _no_such_gold("evaluation.reward_model", evaluation.reward_model, config)
    if judge.base_url is not None:
        yield from _no_endpoint("evaluation.judge", judge.base_url)
    if (judge.base_url is None) != (judge.model is None):
        lacks = "base_url" if judge.base_url is None else "model"
        yield f"evaluation.judge.{lacks} is not given: a judge has both, a base_url and a model"
    named = {
        "reward_model": evaluation.reward_model is not None,
        "opponent": evaluation.opponent != START,
        "judge.base_url": judge.base_url is not None,
    }
    if evaluation.samples == 0 and any(named.values()):
        keys = ", ".join(f"evaluation.{key}" for key, given in named.items() if given)
        yield f"{keys}: evaluation.samples=0 leaves no answers to be rated or compared: use evaluation.samples=64"


def _no_endpoint(key: str, url: str) -> Iterable[str]:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        sound = False
    if "@" in url:
        # Not quoted: what stands there would be in a log.
        yield f"{key}.base_url: no name or password in the address: the key comes from {key}.key_variable"
    elif not sound:
        yield f"{key}.base_url={url}: that is no address such as https://api.openai.com/v1"
