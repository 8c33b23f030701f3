"""How long a run computes on a GPU: operations over a share of its peak, and bytes over a share of its bandwidth.

10_000 pairs of 500 tokens a sequence, LoRA on 7.1e9 weights: 10_000 x 2 x 500 tokens x 4 x 7.1e9 -> 2.8e17 operations,
50 minutes at 30 % of an A100's peak; the reference's 2 x 7.1e9 a token come to it.

Each token takes 2 N operations forward, N being the weights it is multiplied with, and 2 L d S for attention to the
half of S tokens before it, in L layers of width d; backward twice that, or once where the weights are frozen and
gradients only pass through them; and gradient checkpointing goes forward once more (arXiv:2001.08361, section 2.1, and
arXiv:2205.05198, appendix A).

Answers are sampled token by token: each pass over all weights gives one token to each answer of a batch, so that
reading the weights, and the keys and values of what has been said, takes longer than multiplying (arXiv:2211.05102,
section 2).
"""

from dataclasses import dataclass, replace

from trainers import beside, holdings, passes, workload
from trainers.config import LoRA, RunConfig
from trainers.data import Report
from trainers.data_config import Bandit, OnePair, Toy
from trainers.footprint import step_of
from trainers.gpus import GPUS, GPUName
from trainers.holdings import shape_of
from trainers.parameters import Shape
from trainers.workload import Drawing, Workload
from trainers.world import DEFAULT_EVAL, DEFAULT_TRAIN

# Share of the peak, and of the bandwidth, that such runs are taken to reach: sequences are padded, batches small, 4-bit
# weights unpacked, and each layer's kernels started one by one.
UTILISATION = 0.30
# transformers copies keys and values to add a token's: they are read twice and written once.
CACHE_MOVES = 3


@dataclass(frozen=True)
class Work:
    """What a run computes: floating-point operations, and bytes moved for them where that is what takes the time.

    `bound`: tokens, or what the policy will say, were not counted, but taken for as many as there may be.
    """

    operations: float
    bits16: bool
    bound: bool
    moved: float = 0.0

    def hours(self, gpu: GPUName) -> float:
        """GPU-hours at UTILISATION of the GPU's dense peak and of its bandwidth, without loading and saving."""
        model = GPUS[gpu]
        peak = model.tflops_16 if self.bits16 else model.tflops_32
        seconds = self.operations / (peak * 1e12) + self.moved / (model.gb_s * 1e9)
        return seconds / UTILISATION / 3600


def work(config: RunConfig, report: Report | None, *, scored_before: bool = False) -> Work | None:
    """What the run computes on a GPU; None where the model's size or the number of its pairs is not known.

    `scored_before`: a step before the run has the reference score the data's pairs.
    """
    own, pairs = shape_of(config), _pairs(config, report)
    if own is None or pairs is None:
        return None
    load = workload.workload(config, *pairs)
    if scored_before:
        load = replace(load, referred=load.referred - _referred_data(config, *pairs))
    counted = None if report is None else report.mean_tokens
    length = min(config.training.max_length, counted or config.training.max_length)
    operations, moved = _of(config, own, load, length)
    return Work(operations, _bits16(config), counted is None or bool(load.drawn), moved)


def step_work(config: RunConfig, report: Report | None) -> Work | None:
    """What a step computes that has the run's reference score pairs; None as in `work`."""
    own, pairs = shape_of(config), _pairs(config, report)
    if own is None or pairs is None:
        return None
    counted = None if report is None else report.mean_tokens
    length = min(config.training.max_length, counted or config.training.max_length)
    operations = _referred_data(config, *pairs) * length * _of_reference(config, own, length, policy=False)
    return Work(operations, _bits16(config), counted is None)


def _referred_data(config: RunConfig, train: int, heldout: int) -> float:
    """Sequences of the data that the reference scores before training: those of prompts are yet to be made."""
    on_pairs = workload.drawing(config) is None
    return workload.workload(config, train, 0).referred * on_pairs + 2 * heldout


def _bits16(config: RunConfig) -> bool:
    return config.training.precision != "fp32"


def _of(config: RunConfig, own: tuple[Shape, float], load: Workload, length: float) -> tuple[float, float]:
    """Operations, and bytes moved for one token after another."""
    model, _ = own
    # As long as what the policy answers may be, where it is what goes through.
    said = workload.own_tokens(config, length)
    forward = _forward(model, said) * said
    through = load.trained * _passes(config) + load.asked + load.scored
    operations = through * forward + load.referred * said * _of_reference(config, own, said)
    rater = beside.rater(config, own, gpu=True)
    if rater is not None:
        operations += load.rated * said * _forward(rater.shape, said)
    evaluator = beside.evaluator(config, own, gpu=True)
    if evaluator is not None:
        operations += load.judged * said * _forward(evaluator.shape, said)
    moved = 0.0
    for how, (answers, batches) in load.drawn.items():
        tokens = min(config.training.max_length, length + how.new_tokens)
        operations += answers * tokens * _forward(model, tokens)
        moved += batches * _moved(config, own, how, tokens)
    return operations, moved


def _of_reference(config: RunConfig, own: tuple[Shape, float], length: float, *, policy: bool = True) -> float:
    """Operations of a token: of the policy itself, or of all models that the reference is mixed of."""
    others = beside.references(config, own, gpu=True, policy=policy)
    return sum(_forward(other.shape, length) for other in others) or _forward(own[0], length)


def _moved(config: RunConfig, own: tuple[Shape, float], how: Drawing, tokens: float) -> float:
    """Bytes that are read and written while one batch of answers is drawn."""
    model, _ = own
    step = replace(step_of(config, model, gpu=True), sequences=how.largest)
    each = passes.cached(model, step, 1)
    new = min(how.new_tokens, tokens)
    before = tokens - new / 2
    return new * (_read_a_token(config, own) + CACHE_MOVES * before * each)


def _read_a_token(config: RunConfig, own: tuple[Shape, float]) -> float:
    """All weights once, as they are multiplied; those in 4 bits are read, written unpacked, and read again."""
    stream = holdings.stream_bytes(config, gpu=True)
    compute = holdings.compute_bytes(config, gpu=True) or stream
    multiplied = own[0].layers * own[0].linear + own[0].vocab * own[0].hidden
    if not holdings.quantised(config):
        return multiplied * min(stream, compute)
    return multiplied * 2 * compute + holdings.weight_bytes(config, *own, gpu=True)


def _pairs(config: RunConfig, report: Report | None) -> tuple[int, int] | None:
    """Train and held-out pairs."""
    if report is not None:
        return report.train_pairs, report.heldout_pairs
    data = config.data
    if isinstance(data, Toy):
        return data.max_train_samples or DEFAULT_TRAIN, data.max_eval_samples or DEFAULT_EVAL
    if isinstance(data, Bandit | OnePair):
        return None
    # A set of the hub is counted only where it is cut to so many.
    return None if data.max_train_samples is None else (data.max_train_samples, data.max_eval_samples or 0)


def _passes(config: RunConfig) -> int:
    """In units of a forward pass: 3, or 2 over frozen weights; 1 more with checkpointing."""
    return (2 if isinstance(config.peft, LoRA) else 3) + config.training.gradient_checkpointing


def _forward(model: Shape, length: float) -> float:
    """Operations of one token: the embedding is looked up, the head multiplied."""
    multiplied = model.layers * model.linear + model.vocab * model.hidden
    return 2 * multiplied + 2 * model.layers * model.heads * model.head * length
