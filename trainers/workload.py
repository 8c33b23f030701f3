"""How much goes through a run's models: sequences it trains on, scores, has rated, and answers that it samples.

rso on 100 prompts, 16 candidates, 4 accepted, tournament -> 1,600 answers sampled and rated, and 300 pairs at most that
the reference scores and the policy is trained on
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from trainers.config import RunConfig
from trainers.data_config import Bandit, OnePair
from trainers.method_config import RLOO, RSO, SDPO, Backtranslation, OnlineDPO, Sampled
from trainers.methods import GOLD, METHODS


@dataclass(frozen=True)
class Drawing:
    """How answers are drawn: so many to each prompt, `batch` of all in a forward pass, of `new_tokens` at most each."""

    answers: int
    batch: int
    new_tokens: int

    @property
    def prompts_at_once(self) -> int:
        """`trainers.samples` asks for the answers to so many prompts together."""
        return max(1, self.batch // self.answers)

    @property
    def largest(self) -> int:
        """Answers in a forward pass, at most."""
        return min(self.batch, self.prompts_at_once * self.answers)

    def passes(self, prompts: int) -> int:
        """Batches in which the answers to so many prompts are drawn, token by token."""
        whole, rest = divmod(prompts, self.prompts_at_once)
        each = math.ceil(self.prompts_at_once * self.answers / self.batch)
        return whole * each + math.ceil(rest * self.answers / self.batch)


@dataclass(frozen=True)
class Workload:
    """Sequences of prompt and answer, by what is done with them. Where a method makes its own, the most it may make.

    `trained` go forward and backward, `asked` forward alone while training; `scored` are the policy's, `referred` the
    reference's, `rated` the method's reward model's, `judged` the evaluation's. `drawn` are answers, in so many passes,
    by how they are drawn.
    """

    trained: float = 0
    asked: float = 0
    scored: float = 0
    referred: float = 0
    rated: float = 0
    judged: float = 0
    drawn: Mapping[Drawing, tuple[int, int]] = field(default_factory=dict)


def stages(config: RunConfig) -> int:
    """How many trainings follow one another in the run, each with an optimiser of its own."""
    method = config.method
    if isinstance(method, SDPO):
        return method.stages
    if isinstance(method, OnlineDPO | RLOO):
        return method.rounds
    return 2 + method.iterations if isinstance(method, Backtranslation) else 1


def drawing(config: RunConfig) -> Drawing | None:
    """How the method samples what it learns from; None where it does not."""
    method = config.method
    if not isinstance(method, Sampled):
        return None
    answers = {RSO: "candidates", RLOO: "answers"}.get(type(method))
    each = getattr(method, answers) if answers else 2 if isinstance(method, OnlineDPO) else 1
    return Drawing(each, method.sampling_batch, method.max_new_tokens)


def asked_for(config: RunConfig) -> int:
    """How many prompts a run's policy is asked: none where it writes no texts, whatever its config says."""
    rates = METHODS[config.method.name].data_format == "comparisons"
    return 0 if rates or isinstance(config.data, Bandit | OnePair) else config.evaluation.samples


def examining(config: RunConfig, prompts: int) -> Drawing:
    """How so many prompts are answered to examine a policy."""
    evaluation = config.evaluation
    return Drawing(1, max(1, min(evaluation.sampling_batch, prompts)), evaluation.max_new_tokens)


def reward_model(config: RunConfig) -> str | None:
    """Where the weights of the model are that rates what is sampled; None where nothing is loaded for that."""
    method = config.method
    path: str | None = getattr(method, "reward_model", None)
    unused = path == GOLD or (isinstance(method, Backtranslation) and method.score != "reward_model")
    return None if unused else path


def evaluation_model(config: RunConfig) -> str | None:
    """Where the weights of the model are that rates the trained policy's answers; None as in `reward_model`."""
    path = config.evaluation.reward_model
    return None if path == GOLD or not asked_for(config) else path


def own_tokens(config: RunConfig, tokens: float) -> float:
    """Of a sequence whose prompt the policy answers itself, at most, where those of the data have so many."""
    drawn = drawing(config)
    most = config.training.max_length
    if drawn is None or isinstance(config.method, Backtranslation):  # which writes prompts to texts of the data
        return min(most, tokens)
    return min(most, tokens + drawn.new_tokens)


def steps(config: RunConfig, pairs: float) -> float:
    """Optimiser steps of a training on so many pairs."""
    training = config.training
    if training.max_steps > 0:
        return training.max_steps
    return training.epochs * pairs / (training.batch_size * training.gradient_accumulation)


def workload(config: RunConfig, train: int, heldout: int) -> Workload:
    """What the run does with so many pairs."""
    found, trainings = _BY_METHOD.get(type(config.method), _on_pairs)(config, train)
    evaluations = 1 + sum(_times_every(config.evaluation.every, config, pairs) for pairs in trainings)
    scored = found.scored + 2 * heldout * evaluations
    referred = found.referred + (0 if METHODS[config.method.name].data_format == "comparisons" else 2 * heldout)
    drawn, judged = dict(found.drawn), 0
    samples = min(asked_for(config), heldout)
    if samples:
        # The policy answers each time, what it started from once; all answers, and the pairs of their prompts, are
        # compared with what the reference says of them.
        examinations = 1 + sum(_times_every(config.evaluation.samples_every, config, pairs) for pairs in trainings)
        how, times = examining(config, samples), examinations + 1
        answers, passes = drawn.get(how, (0, 0))
        drawn[how] = (answers + samples * times, passes + how.passes(samples) * times)
        judged = 2 * samples * examinations if evaluation_model(config) else 0
        scored, referred = scored + 3 * samples * examinations, referred + 3 * samples * examinations
    return replace(found, scored=scored, referred=referred, judged=judged, drawn=drawn)


# What the run does beside its evaluations, and how many pairs each of its trainings is on.
_Found = tuple[Workload, list[float]]


def _seen(config: RunConfig, pairs: float) -> float:
    """Pairs that go through a training on so many."""
    training = config.training
    return steps(config, pairs) * training.batch_size * training.gradient_accumulation


def _times_every(every: int, config: RunConfig, pairs: float) -> int:
    """What is done every so many steps on the way; once at the end comes to it."""
    return int(steps(config, pairs) // every) if every else 0


def _on_pairs(config: RunConfig, train: int) -> _Found:
    method, seen = METHODS[config.method.name], _seen(config, train)
    each = 1 if method.data_format == "demonstrations" else 2
    # Unpaired answers are held to answers to other prompts, and a moving reference is asked at each step.
    beside = method.data_format == "unpaired"
    asked = each * seen if beside or config.reference.kind == "moving" else 0
    referred = 2 * train * (2 if beside else 1) if method.reference in ("fixed", "unconditional") else 0
    return Workload(trained=each * seen, asked=asked, referred=referred), [train]


def _stepwise(config: RunConfig, train: int) -> _Found:
    """The later stages' references are the policy itself, as it is when their turn has come."""
    method = config.method
    assert isinstance(method, SDPO)
    found, trainings = _on_pairs(config, train)
    return replace(found, scored=2 * train * (1 - 1 / method.stages)), trainings


def _rejection(config: RunConfig, train: int) -> _Found:
    method, drawn = config.method, drawing(config)
    assert isinstance(method, RSO)
    assert drawn is not None
    kept = min(method.accepted, method.candidates)
    made = train * (kept - 1 if method.pairing == "tournament" else kept // 2)
    answers = train * method.candidates
    found = Workload(
        trained=2 * _seen(config, made),
        referred=2 * made,
        rated=answers,
        drawn={drawn: (answers, drawn.passes(train))},
    )
    return found, [made]


def _online(config: RunConfig, train: int) -> _Found:
    method, drawn = config.method, drawing(config)
    assert isinstance(method, OnlineDPO)
    assert drawn is not None
    prompts = min(method.prompts_per_round, train)
    found = Workload(
        trained=2 * _seen(config, prompts),
        referred=2 * prompts,
        rated=2 * prompts if reward_model(config) else 0,
        drawn={drawn: (2 * prompts, drawn.passes(prompts))},
    )
    return _times(found, method.rounds), [float(prompts)] * method.rounds


def _leave_one_out(config: RunConfig, train: int) -> _Found:
    method, drawn = config.method, drawing(config)
    assert isinstance(method, RLOO)
    assert drawn is not None
    prompts = min(method.prompts_per_round, train)
    answers = prompts * method.answers
    # The scorer takes two by two.
    scored = 2 * prompts * math.ceil(method.answers / 2)
    found = Workload(
        trained=2 * _seen(config, answers / 2),
        scored=scored,
        referred=scored,
        rated=answers,
        drawn={drawn: (answers, drawn.passes(prompts))},
    )
    return _times(found, method.rounds), [answers / 2] * method.rounds


def _backtranslated(config: RunConfig, train: int) -> _Found:
    method, drawn = config.method, drawing(config)
    assert isinstance(method, Backtranslation)
    assert drawn is not None
    seed = max(1, min(train - 1, round(method.seed_share * train)))
    texts = train - seed
    trainings: list[float] = [seed, seed, *[seed + max(1, round(method.keep * texts))] * method.iterations]
    scored = {"scored": 2 * texts * method.iterations} if method.score == "likelihood" else {}
    found = Workload(
        trained=sum(_seen(config, pairs) for pairs in trainings),
        rated=texts * method.iterations if reward_model(config) else 0,
        drawn={drawn: (texts, drawn.passes(texts))},
        **scored,
    )
    return found, trainings


def _times(found: Workload, rounds: int) -> Workload:
    return Workload(
        trained=found.trained * rounds,
        scored=found.scored * rounds,
        referred=found.referred * rounds,
        rated=found.rated * rounds,
        drawn={how: (answers * rounds, passes * rounds) for how, (answers, passes) in found.drawn.items()},
    )


_BY_METHOD: Mapping[type, Callable[[RunConfig, int], _Found]] = {
    SDPO: _stepwise,
    RSO: _rejection,
    OnlineDPO: _online,
    RLOO: _leave_one_out,
    Backtranslation: _backtranslated,
}
