"""What a policy's answers to held-out prompts say of it: how far it has moved, what it writes, what that is worth.

    examine(subject) -> Findings({"eval/kl": 12.4, "eval/reward": 3.1, ...}, rows of answers.jsonl, tokens.json, None)

Each prompt is answered once by the policy and once by its opponent, as a rule what it started from; one forward pass
over these answers, and over the held-out pairs of the same prompts, gives KL, entropy and the study of tokens.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainers.config import RunConfig
from trainers.distributed import World
from trainers.errors import InvalidInput, Stopped
from trainers.evaluation import contest, degeneracy, estimates
from trainers.evaluation.answers import answers, opponent_answers, start_answers
from trainers.evaluation.beside import other_tokens, reference_opened
from trainers.evaluation.compare import Compared, compare
from trainers.evaluation.opponent import opponent
from trainers.evaluation.other_tokens import reference_logps
from trainers.evaluation.pairs import Buckets, HeldOut
from trainers.evaluation.prompts import Prompt, prompts, shown
from trainers.evaluation.repetition import repetition
from trainers.evaluation.room import with_room
from trainers.evaluation.tokens import study
from trainers.evaluation_config import START
from trainers.generate import ends
from trainers.models import Policy
from trainers.samples import Sample
from trainers.workload import asked_for


@dataclass(frozen=True)
class Subject:
    """A trained policy, and what it is examined on. `heed` and `world` are as in `scorer.score`."""

    config: RunConfig
    policy: Policy
    held: HeldOut
    cache_dir: Path
    heed: Callable[[], None]
    world: World


@dataclass(frozen=True)
class Findings:
    """What came out; a measure that could not be taken is NaN.

    `answers` are the rows of answers.jsonl, `tokens` what tokens.json holds, `degenerate` why the policy is; `missing`
    says of measures that are NaN because somebody could not be asked why that is.
    """

    metrics: Mapping[str, float]
    answers: Sequence[Mapping[str, Any]]
    tokens: Mapping[str, Any] | None
    degenerate: str | None
    missing: Mapping[str, str] = field(default_factory=dict)


NOTHING = Findings({}, (), None, None)


@dataclass(frozen=True)
class Measured:
    """Of one answer, in nats: how far it is from the reference by three estimators, NaN where that is not known."""

    tokens: int
    kl: float
    k1: float
    k3: float
    # Summed over its tokens.
    entropy: float
    repetition: float


def examine(subject: Subject) -> Findings:
    """The policy beside its reference and its opponent; nothing where `evaluation.samples` is 0 or there are no texts.

    Raises Stopped in the middle where the run is asked to stop.
    """
    config, policy, world = subject.config, subject.policy, subject.world
    asked = prompts(subject.held, asked_for(config))
    if not asked:
        return NOTHING
    said = answers(config, policy, asked, subject.heed, world)
    others, away = _opponent_answers(subject, asked)
    measured, tokens = _measured(subject, asked, said)
    questions = [prompt.asked for prompt in asked]
    found = contest.contest(config, policy, subject.cache_dir, questions, said, others, subject.heed, world)

    metrics = {**_of_answers(said, measured), **found.metrics}
    texts = [answer.text for answer in said]
    start_ended = _start_ended(subject, asked, others, metrics["eval/ended"])
    why = degeneracy.reason(config.evaluation.degenerate, metrics, texts, start_ended)
    metrics["eval/degenerate"] = float(why is not None)
    missing = {**dict.fromkeys(_beside(metrics), away), **found.missing} if away else found.missing
    if world.first:
        _tell_missing(metrics, missing)
    name = _name(config)
    beside: Sequence[Sample | None] = [None] * len(said) if others is None else others
    rows = [
        {**_row(prompt, answer, one), **_of_opponent(other), **worth, "opponent": name}
        for prompt, answer, one, other, worth in zip(asked, said, measured, beside, found.rows, strict=True)
    ]
    return Findings(metrics, rows, tokens, why, missing)


def _opponent_answers(subject: Subject, asked: Sequence[Prompt]) -> tuple[list[Sample] | None, str]:
    """What the opponent answers, or why it does not.

    A policy is not lost for an opponent that is gone. What it started from is never gone but for a reason that would
    have ended the run before; and of several ranks all must go the same way.
    """
    config, world = subject.config, subject.world
    assert subject.held.texts is not None
    texts = [subject.held.texts[prompt.place] for prompt in asked]
    try:
        found = opponent_answers(config, subject.policy, asked, texts, subject.cache_dir, subject.heed, world)
    except Stopped:
        raise
    except Exception as problem:  # of weights that are anybody's
        if config.evaluation.opponent == START or world.shared:
            raise
        why = contest.why_not(f"evaluation.opponent={config.evaluation.opponent} cannot answer", problem)
        print(f"evaluation: {why}", file=sys.stderr)
        return None, why
    return found, ""


def _start_ended(subject: Subject, asked: Sequence[Prompt], others: Sequence[Sample] | None, ended: float) -> float:
    """Share of the start's answers that end by themselves; it is asked only where that makes a difference."""
    config, bound = subject.config, subject.config.evaluation.degenerate.ended
    if config.evaluation.opponent != START:
        if bound is None or not ended < bound:
            return ended
        others = start_answers(config, subject.policy, asked, subject.cache_dir, subject.heed, subject.world)
    assert others is not None
    return sum(answer.ended for answer in others) / len(others)


def _name(config: RunConfig) -> str:
    try:
        other = opponent(config)
    except InvalidInput:
        return config.evaluation.opponent
    return START if other is None else other.name


def _beside(metrics: Mapping[str, float]) -> list[str]:
    """Measures that an opponent is needed for."""
    return [name for name in metrics if "win_rate" in name or name == "eval/start_reward"]


def _measured(
    subject: Subject, asked: Sequence[Prompt], said: Sequence[Sample]
) -> tuple[list[Measured], Mapping[str, Any] | None]:
    """Of each answer; and the study of tokens, which a reference with other tokens has none of."""
    config, policy, world = subject.config, subject.policy, subject.world
    own = [(prompt.asked.ids, answer.ids) for prompt, answer in zip(asked, said, strict=True)]
    pairs = [subject.held.pairs[prompt.place] for prompt in asked]
    heldout = [(pair.prompt_ids, ids) for pair in pairs for ids in (pair.chosen_ids, pair.rejected_ids)]
    size = 2 * config.evaluation.batch_size
    strangers = other_tokens(config, policy, subject.cache_dir)
    if strangers:
        compared = with_room(lambda batch: compare(policy, [], own, batch, subject.heed, world), size, world)
        ratios = _whole_ratios(subject, asked, said, str(strangers[0].path))
        return [_of_whole(one, answer, ratio) for one, answer, ratio in zip(compared, said, ratios, strict=True)], None
    with reference_opened(config, policy, subject.cache_dir) as others:
        both = [*own, *heldout]
        compared = with_room(lambda batch: compare(policy, others, both, batch, subject.heed, world), size, world)
    on_pairs = compared[len(own) :]
    lengths = _by_length(subject.held, asked)
    stops = ends(policy)
    tokens = study(on_pairs, policy.tokenizer, stops, lengths)
    tokens["samples"] = study(compared[: len(own)], policy.tokenizer, stops)
    return [_of_tokens(one, answer) for one, answer in zip(compared, said, strict=False)], tokens


def _of_tokens(compared: Compared, answer: Sample) -> Measured:
    ratios = compared.logratios
    kl = float(compared.kl.double().sum())
    return _measured_of(compared, answer, kl, estimates.k1(ratios), estimates.k3(ratios))


def _of_whole(compared: Compared, answer: Sample, ratio: float) -> Measured:
    """`ratio` is log π(y|x) - log ref(y|x): of all its tokens together, one step as it were."""
    return _measured_of(compared, answer, math.nan, ratio, estimates.k3_of(ratio))


def _measured_of(compared: Compared, answer: Sample, kl: float, k1: float, k3: float) -> Measured:
    entropy = float(compared.entropy.double().sum())
    written = answer.ids[:-1] if answer.ended else answer.ids
    return Measured(len(compared.ids), kl, k1, k3, entropy, repetition(written))


def _whole_ratios(subject: Subject, asked: Sequence[Prompt], said: Sequence[Sample], name: str) -> list[float]:
    """Of whole answers; NaN where the reference cannot read them. Says so."""
    questions = [prompt.asked for prompt in asked]
    try:
        found = reference_logps(
            subject.config, subject.policy, questions, said, subject.cache_dir, subject.heed, subject.world
        )
        why = "eval/kl is not known, eval/kl_k1 and eval/kl_k3 are of whole answers"
    except InvalidInput as error:
        found, why = None, "; ".join(error.faults)
    if subject.world.first:
        print(f"evaluation: {name} has another tokenizer than the policy: {why}", file=sys.stderr)
    if found is None:
        return [math.nan] * len(said)
    return [answer.logp - float(logp) for answer, logp in zip(said, found, strict=True)]


def _by_length(held: HeldOut, asked: Sequence[Prompt]) -> dict[str, list[int]]:
    """Places of the answers of pairs of each length, two for each prompt."""
    bucket = {
        place: name for name, places in Buckets.of_pairs(held).places.items()
        for place in places.tolist()
    }  # fmt: skip
    found: dict[str, list[int]] = {}
    for number, prompt in enumerate(asked):
        if prompt.place in bucket:
            found.setdefault(bucket[prompt.place], []).extend((2 * number, 2 * number + 1))
    return found


def _of_answers(said: Sequence[Sample], measured: Sequence[Measured]) -> dict[str, float]:
    """Measures on n answers, one to each prompt; `_se` is a standard error over the prompts.

    eval/kl, eval/kl_k1, eval/kl_k3  KL(policy || reference) of an answer in nats, by the estimators of `estimates`
    eval/kl_per_token                the first of them a token, Σ kl / Σ tokens
    eval/entropy                     of the policy's next token, mean over all tokens, in nats
    eval/repetition                  mean share of repeated 4-grams of an answer
    eval/length                      mean tokens of an answer, its end counted
    eval/ended                       share of the answers that ended by themselves
    eval/answers                     n
    """
    tokens = [float(one.tokens) for one in measured]
    found: dict[str, float] = {}
    for name, values in (
        ("kl", [one.kl for one in measured]),
        ("kl_k1", [one.k1 for one in measured]),
        ("kl_k3", [one.k3 for one in measured]),
    ):
        found[f"eval/{name}"], found[f"eval/{name}_se"] = estimates.mean(values)
    found["eval/kl_per_token"], found["eval/kl_per_token_se"] = estimates.ratio([one.kl for one in measured], tokens)
    found["eval/entropy"], _ = estimates.ratio([one.entropy for one in measured], tokens)
    found["eval/repetition"], _ = estimates.mean([one.repetition for one in measured])
    found["eval/length"], _ = estimates.mean([float(len(answer.ids)) for answer in said])
    found["eval/ended"], _ = estimates.mean([float(answer.ended) for answer in said])
    found["eval/answers"] = float(len(said))
    return found


def _row(prompt: Prompt, answer: Sample, measured: Measured) -> dict[str, Any]:
    return {
        "prompt": prompt.name,
        "prompt_text": shown(prompt.asked.text),
        "text": answer.text,
        "tokens": len(answer.ids),
        "ended": answer.ended,
        "kl": _finite(measured.kl),
        "k1": _finite(measured.k1),
        "k3": _finite(measured.k3),
        "entropy": _finite(measured.entropy / measured.tokens) if measured.tokens else None,
        "repetition": measured.repetition,
    }


def _of_opponent(answer: Sample | None) -> dict[str, Any]:
    return {
        "start_text": None if answer is None else answer.text,
        "start_tokens": None if answer is None else len(answer.ids),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _tell_missing(metrics: Mapping[str, float], told: Mapping[str, str]) -> None:
    """But for those whose reason was told."""
    missing = [name for name, value in metrics.items() if not math.isfinite(value) and name not in told]
    if missing:
        print(f"evaluation: no finite value of {', '.join(missing)}", file=sys.stderr)
