"""What a run takes of memory, phase by phase and part by part, told from its config alone: no torch, no download.

Mistral 7B with peft=none on a GPU -> Estimate whose peak is "the forward pass", of weights 27.0, gradients 27.0,
optimiser 14.4, ... and what an allocator loses: parts of one moment, which add up. docs/models.md has how.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from trainers import activations, beside, holdings, passes, start_kinds, workload
from trainers.activations import Step
from trainers.beside import Beside
from trainers.config import LoRA, RunConfig
from trainers.holdings import compute_bytes, quantised, shape_of, stream_bytes
from trainers.machine import Machine
from trainers.method_config import RSO, Backtranslation
from trainers.methods import METHODS
from trainers.parameters import Shape

__all__ = ["Estimate", "Machine", "Phase", "estimate", "estimate_step", "step_of"]

# The libraries' own code and buffers; on a GPU, what CUDA and cuBLAS take beside the allocator.
BASE_BYTES = int(0.7e9)
# What the allocator cannot use of what is given out.
LOSS = 0.05

Part = Literal[
    "weights", "adapter", "copy", "gradients", "optimizer", "update", "cast", "activations", "logits", "cache",
    "reward model", "reference", "other", "lost",
]  # fmt: skip
Name = Literal[
    "the reference", "sampling", "rating", "the forward pass", "the backward pass", "the optimiser's step", "scoring",
    "examining",
]  # fmt: skip


@dataclass(frozen=True)
class Phase:
    """Bytes of all that lies in memory at the worst moment of a part of a run, by what it is.

    `weights` of the base, `adapter` beside it, `copy` of what is trained (the start of a run that samples, a reference
    that moves), `gradients` and `optimizer` of what is trained, `update` of the optimiser's step, `cast` for copies of
    weights that mixed precision makes, `activations` of a micro-batch or a pass, `logits` with what becomes of them,
    `cache` of keys and values, `reward model` and `reference` of models that are loaded, `other` of libraries and the
    GPU's context, `lost` what the allocator cannot use.
    """

    name: Name
    parts: tuple[tuple[Part, int], ...]

    @property
    def total(self) -> int:
        """Of all parts."""
        return sum(size for _, size in self.parts)

    def of(self, part: Part) -> int:
        """Bytes of one part."""
        return dict(self.parts).get(part, 0)


@dataclass(frozen=True)
class Estimate:
    """What a run takes in each of its phases. `paged`: the optimiser's state may move to main memory."""

    parameters: float
    trained: float
    phases: tuple[Phase, ...]
    paged: bool = False

    @property
    def peak(self) -> Phase:
        """The phase that takes most, the first of those that take as much."""
        return max(self.phases, key=lambda phase: phase.total)

    @property
    def total(self) -> int:
        """Bytes at the run's peak: what has to have room."""
        return self.peak.total

    def most(self, part: Part) -> int:
        """Bytes of one part, in the phase that takes most of it."""
        return max(phase.of(part) for phase in self.phases)


def estimate(
    config: RunConfig, machine: Machine | None = None, longest: int | None = None, *, scored_before: bool = False
) -> Estimate | None:
    """What the run takes on `machine` (this one), or None where the model's size is not known.

    `longest` is how many tokens the longest sequence of the data has, where that is known; else it is
    training.max_length. `scored_before`: a step before the run has the reference score the data's pairs.
    """
    own = shape_of(config)
    if own is None:
        return None
    gpu = bool((machine or Machine.here()).gpu_bytes)
    run = _Run.of(config, own, gpu=gpu, longest=longest)
    return Estimate(
        parameters=own[1],
        trained=run.trained,
        phases=tuple(_with_loss(phase) for phase in run.phases(scored_before=scored_before)),
        paged=config.training.optimizer.startswith("paged"),
    )


def estimate_step(config: RunConfig, machine: Machine | None = None, longest: int | None = None) -> Estimate | None:
    """What a step takes that has the run's reference score pairs, without its policy; None as in `estimate`."""
    own = shape_of(config)
    if own is None:
        return None
    gpu = bool((machine or Machine.here()).gpu_bytes)
    step = step_of(config, own[0], gpu=gpu, longest=longest)
    scored = replace(step, sequences=2 * config.evaluation.batch_size)
    libraries: Mapping[Part, int] = {"other": BASE_BYTES}
    phases = [
        _phase("the reference", libraries, {"reference": model.bytes}, _scoring(model, scored))
        for model in beside.references(config, own, gpu=gpu, policy=False)
    ]
    return Estimate(own[1], 0, tuple(map(_with_loss, phases))) if phases else None


def step_of(config: RunConfig, model: Shape, *, gpu: bool, longest: int | None = None) -> Step:
    """One micro-batch of the run: both answers of each pair in one pass, all as long as the longest."""
    training, peft = config.training, config.peft
    stream, compute = stream_bytes(config, gpu=gpu), compute_bytes(config, gpu=gpu)
    alone = METHODS[config.method.name].data_format == "demonstrations" or isinstance(config.method, Backtranslation)
    tokens = min(training.max_length, longest or training.max_length)
    return Step(
        sequences=(1 if alone else 2) * training.batch_size,
        tokens=int(workload.own_tokens(config, tokens)),
        compute=compute or stream,
        stream=stream,
        gpu=gpu,
        attention=config.model.attention,
        adapted=holdings.adapted(config, model),
        rank=peft.r if isinstance(peft, LoRA) else 0,
        dora=isinstance(peft, LoRA) and peft.use_dora,
        quantised=quantised(config),
        checkpointing=training.gradient_checkpointing,
        mixed=compute is not None,
    )


@dataclass(frozen=True)
class _Run:
    """A run's model, what is held of it, and what goes through it."""

    config: RunConfig
    model: Shape
    step: Step
    trained: float
    # What is there all the while.
    held: Mapping[Part, int]
    # Of what is trained: one copy of it, gradients, the optimiser's state, and what its step takes besides.
    copy: int
    optimizer: int
    update: int
    references: list[Beside]
    rater: Beside | None
    # What the trained policy is examined beside.
    opponents: list[Beside]
    evaluator: Beside | None
    compared: list[Beside]

    @classmethod
    def of(cls, config: RunConfig, own: tuple[Shape, float], *, gpu: bool, longest: int | None) -> "_Run":
        model, parameters = own
        trained, each = holdings.trained(config, *own), holdings.trained_bytes(config, gpu=gpu)
        frozen = start_kinds.adapter_bytes(config)
        # Of a run that is yet to come, it is taken to be like this one's; merged, it is gone before training begins.
        adapter = int(trained * each) + (int(trained * each) if frozen is None else frozen)
        return cls(
            config,
            model,
            step_of(config, model, gpu=gpu, longest=longest),
            trained,
            held={
                "weights": int(holdings.weight_bytes(config, model, parameters, gpu=gpu)),
                "adapter": adapter if isinstance(config.peft, LoRA) else 0,
                "other": BASE_BYTES,
            },
            copy=int(trained * each),
            optimizer=int(holdings.optimizer_bytes(config, model, trained, each)),
            update=int(holdings.update_bytes(config, model, trained, each, gpu=gpu)),
            references=beside.references(config, own, gpu=gpu),
            rater=beside.rater(config, own, gpu=gpu),
            opponents=beside.opponents(config, own, gpu=gpu),
            evaluator=beside.evaluator(config, own, gpu=gpu),
            compared=beside.compared(config, own, gpu=gpu),
        )

    def phases(self, *, scored_before: bool) -> Iterator[Phase]:
        """In the order of the run's story, `trainers.train`."""
        rates = METHODS[self.config.method.name].data_format == "comparisons"
        if not rates and not scored_before:
            yield from self._references({})
        if self._samples:
            yield from self._making()
        yield from self._training()
        evaluated = self._kept_in_training if self._evaluates else self._kept_at_the_end
        if rates:
            # A trainer switches the cache off in what it trains.
            _, passing = passes.rating(self.model, self._scored)
            yield _phase("scoring", self.held, evaluated, self._cast, {"activations": passing})
        else:
            yield _phase("scoring", self.held, evaluated, self._scores)
        if workload.asked_for(self.config):
            yield from self._examining(evaluated)

    @property
    def _samples(self) -> bool:
        return METHODS[self.config.method.name].data_format == "prompts"

    @property
    def _evaluates(self) -> bool:
        evaluation = self.config.evaluation
        return evaluation.every > 0 or (evaluation.samples_every > 0 and workload.asked_for(self.config) > 0)

    @property
    def _scored(self) -> Step:
        return replace(self.step, sequences=2 * self.config.evaluation.batch_size)

    @property
    def _cast(self) -> dict[Part, int]:
        """Of the policy's weights, where all words are scored."""
        return {"cast": activations.copied_weights(self.model, self.step, head=True)}

    @property
    def _scores(self) -> Mapping[Part, int]:
        return {**self._cast, "activations": passes.scoring(self.model, self._scored)}

    @property
    def _kept_in_training(self) -> dict[Part, int]:
        # Those that rate in rounds are there from the first to the last.
        rounds = not isinstance(self.config.method, RSO | Backtranslation)
        return {
            "copy": self.copy if self._samples or self.config.reference.kind == "moving" else 0,
            "reward model": self.rater.bytes if rounds and self.rater else 0,
            # The state of a stage's optimiser lies there until the next one's trainer has come and gone.
            "optimizer": self.optimizer * (2 if workload.stages(self.config) > 1 else 1),
        }

    @property
    def _kept_at_the_end(self) -> dict[Part, int]:
        """By the last trainer, which a stop would still have to save."""
        return {
            "copy": self.copy if self.config.reference.kind == "moving" else 0,
            "optimizer": self.optimizer,
        }

    def _references(self, besides: Mapping[Part, int]) -> Iterator[Phase]:
        """The policy without its adapter, or as it was, or other models one by one."""
        if not self.references:
            yield _phase("the reference", self.held, besides, self._scores)
        for model in self.references:
            parts: Mapping[Part, int] = {"reference": model.bytes}
            yield _phase("the reference", self.held, besides, parts, _scoring(model, self._scored))

    def _making(self) -> Iterator[Phase]:
        """Answers are sampled, rated and scored; from the second round on beside what the one before has left."""
        drawn = workload.drawing(self.config)
        assert drawn is not None
        left: dict[Part, int] = {
            "copy": self.copy,
            "optimizer": self.optimizer if workload.stages(self.config) > 1 else 0,
        }
        writes = isinstance(self.config.method, Backtranslation)
        rated: dict[Part, int] = {"reward model": self.rater.bytes if self.rater else 0}
        step = replace(self.step, sequences=drawn.largest)
        if writes:  # prompts, to texts of the data
            most = self.config.training.max_length
            step = replace(step, tokens=min(most, step.tokens + drawn.new_tokens))
        cache, passing = passes.sampling(self.model, step, _prompt(step, drawn.new_tokens))
        # Its reward model comes after the sampling, and goes before anything else.
        sampled: Mapping[Part, int] = {**self._cast, "cache": cache, "activations": passing}
        yield _phase("sampling", self.held, left, {} if writes else rated, sampled)
        if self.rater is not None:
            batch = _rated_alone(self.rater, replace(step, sequences=drawn.batch if writes else drawn.largest))
            cache, passing = passes.rating(self.rater.shape, batch)
            yield _phase("rating", self.held, left, rated, {"cache": cache, "activations": passing})
        if not writes:
            yield from self._references({**left, **rated})

    def _training(self) -> Iterator[Phase]:
        kept = self._kept_in_training
        activations_left = activations.stored(self.model, self.step)
        passing = activations.passing(self.model, self.step)
        tokens = self.step.all_tokens
        # How much of a sequence is an answer is not known: all of it at most. A reward model has no words to tell.
        rates = METHODS[self.config.method.name].data_format == "comparisons"
        head = 0 if rates else activations.tiled_logits(self.model, tokens, self.step)
        accumulates: dict[Part, int] = (
            {"gradients": self.copy} if self.config.training.gradient_accumulation > 1 else {}
        )
        cast: dict[Part, int] = {"cast": activations.copied_weights(self.model, self.step, head=False)}
        if self.step.checkpointing:
            forward: dict[Part, int] = {
                "activations": activations_left,
                "logits": 0 if rates else activations.tile(self.model, tokens, self.step),
            }
            yield _phase("the forward pass", self.held, kept, cast, accumulates, forward)
            cast = {}
        # The head comes first and is over when the layers' turn has come; gradients come as activations go.
        at_head: dict[Part, int] = {"activations": activations_left, "logits": head}
        in_layers: dict[Part, int] = {
            "gradients": 0 if self.step.adapted or rates else 4 * self.model.vocab * self.model.hidden,
            "activations": activations_left + passing,
        }
        backward = max(at_head, in_layers, key=lambda parts: sum(parts.values()))
        yield _phase("the backward pass", self.held, kept, cast, backward, accumulates)
        yield _phase("the optimiser's step", self.held, kept, {"gradients": self.copy, "update": self.update})

    def _examining(self, kept: Mapping[Part, int]) -> Iterator[Phase]:
        """Of `trainers.evaluation`: the policy answers, then its opponent, all answers are compared, and then rated."""
        how = workload.examining(self.config, workload.asked_for(self.config))
        tokens = min(self.config.training.max_length, self.step.tokens + how.new_tokens)
        drawn = replace(self.step, sequences=how.largest, tokens=tokens)
        prompt = _prompt(drawn, how.new_tokens)
        cache, passing = passes.sampling(self.model, drawn, prompt)
        yield _phase("examining", self.held, kept, self._cast, {"cache": cache, "activations": passing})
        for model in self.opponents:
            own = _alone(model, drawn)
            cache, passing = passes.sampling(model.shape, own, prompt)
            loaded: Mapping[Part, int] = {"reference": model.bytes, "cast": _cast(model, own)}
            yield _phase("examining", self.held, kept, loaded, {"cache": cache, "activations": passing})
        # One model after the other, each of which forgets its copies; a policy without its adapter is asked twice.
        passed = replace(self._scored, tokens=tokens)
        models = 1 + max(1, len(self.compared))
        others = [(other, _alone(other, passed)) for other in self.compared]
        each = [(self._cast["cast"], passes.comparing(self.model, passed, models))]
        each += [(_cast(other, step), passes.comparing(other.shape, step, models)) for other, step in others]
        cast, most = max(each, key=sum)
        loaded = {"reference": sum(other.bytes for other in self.compared), "cast": cast}
        yield _phase("examining", self.held, kept, loaded, {"activations": most})
        if self.evaluator is not None:
            yield self._rating(kept, self.evaluator, drawn)

    def _rating(self, kept: Mapping[Part, int], model: Beside, drawn: Step) -> Phase:
        """Beside the method's own reward model, where that is still there."""
        batch = _rated_alone(model, drawn)
        cache, passing = passes.rating(model.shape, batch)
        rated: Mapping[Part, int] = {"reward model": kept.get("reward model", 0) + model.bytes}
        return _phase("rating", self.held, kept, rated, {"cache": cache, "activations": passing})


def _prompt(step: Step, new_tokens: int) -> int:
    """As long as leaves room for the answer; how much of a text is its prompt is not known."""
    return max(step.tokens - new_tokens, step.tokens // 2 if step.tokens <= new_tokens else 0)


def _alone(model: Beside, step: Step) -> Step:
    """The step of a model that is loaded for it, without an adapter to train."""
    return replace(step, adapted=frozenset(), rank=0, dora=False, quantised=model.quantised)


def _rated_alone(model: Beside, step: Step) -> Step:
    """The step of a model that rates, without autocast besides."""
    return replace(_alone(model, step), compute=step.stream, mixed=False, attention="sdpa")


def _cast(model: Beside, step: Step) -> int:
    return 0 if model.quantised else activations.copied_weights(model.shape, step, head=True)


def _scoring(model: Beside, scored: Step) -> dict[Part, int]:
    """What a model that is loaded for it takes to score, without an adapter to train."""
    step = _alone(model, scored)
    return {"cast": _cast(model, step), "activations": passes.scoring(model.shape, step)}


def _phase(name: Name, *parts: Mapping[Part, int]) -> Phase:
    """Of what is in all mappings together, of which a later one goes before; what takes nothing is left out."""
    together: dict[Part, int] = {}
    for some in parts:
        together |= some
    return Phase(name, tuple((part, together[part]) for part in get_args(Part) if together.get(part)))


def _with_loss(phase: Phase) -> Phase:
    return replace(phase, parts=(*phase.parts, ("lost", int(phase.total * LOSS))))
