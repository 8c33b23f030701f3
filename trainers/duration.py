"""How long a run computes on a GPU: floating-point operations over an assumed share of the GPU's peak.

10_000 pairs of 500 tokens a sequence, LoRA on 7.1e9 weights: 10_000 x 2 x 500 tokens x 4 x 7.1e9 -> 2.8e17 operations,
50 minutes at 30 % of an A100's peak; the reference's 2 x 7.1e9 a token come to it.

Each token takes 2 N operations forward, N being the weights it is multiplied with, and 2 L d S for attention to the
half of S tokens before it, in L layers of width d; backward twice that, or once where the weights are frozen and
gradients only pass through them; and gradient checkpointing goes forward once more (arXiv:2001.08361, section 2.1, and
arXiv:2205.05198, appendix A).
"""

from dataclasses import dataclass

from trainers.config import LoRA, RunConfig
from trainers.data import Report
from trainers.data_config import Bandit, OnePair, Toy
from trainers.footprint import shape_of
from trainers.gpus import GPUS, GPUName
from trainers.methods import METHODS
from trainers.parameters import Shape
from trainers.world import DEFAULT_EVAL, DEFAULT_TRAIN

# Share of the peak that such runs are taken to reach: sequences are padded, batches small, 4-bit weights unpacked.
UTILISATION = 0.30


@dataclass(frozen=True)
class Work:
    """What a run computes: floating-point operations. `bound`: tokens were not counted, but taken for max_length."""

    operations: float
    bits16: bool
    bound: bool

    def hours(self, gpu: GPUName) -> float:
        """GPU-hours at UTILISATION of the GPU's dense peak, without loading and saving."""
        model = GPUS[gpu]
        peak = model.tflops_16 if self.bits16 else model.tflops_32
        return self.operations / (peak * 1e12 * UTILISATION) / 3600


def work(config: RunConfig, report: Report | None) -> Work | None:
    """What the run computes on a GPU; None where the model's size or the number of its pairs is not known."""
    sizes, pairs = shape_of(config), _pairs(config, report)
    if sizes is None or pairs is None:
        return None
    model, _ = sizes
    train, heldout = pairs
    counted = None if report is None else report.mean_tokens
    length = min(config.training.max_length, counted or config.training.max_length)
    forward = _forward(model, length) * length
    method = METHODS[config.method.name]
    sequences = 1 if method.data_format == "demonstrations" else 2
    trained = _seen(config, train) * sequences * (_passes(config) * forward)
    scored = 2 * heldout * (2 + _evaluations(config, train)) + (2 * train if method.needs_reference else 0)
    return Work(trained + scored * forward, config.training.precision != "fp32", bound=counted is None)


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


def _steps(config: RunConfig, train: int) -> float:
    training = config.training
    if training.max_steps > 0:
        return training.max_steps
    return training.epochs * train / (training.batch_size * training.gradient_accumulation)


def _seen(config: RunConfig, train: int) -> float:
    """Pairs that go through training."""
    training = config.training
    return _steps(config, train) * training.batch_size * training.gradient_accumulation


def _evaluations(config: RunConfig, train: int) -> float:
    """On the way; one of the reference and one at the end come to it."""
    return _steps(config, train) // config.evaluation.every if config.evaluation.every else 0


def _passes(config: RunConfig) -> int:
    """In units of a forward pass: 3, or 2 over frozen weights; 1 more with checkpointing."""
    return (2 if isinstance(config.peft, LoRA) else 3) + config.training.gradient_checkpointing


def _forward(model: Shape, length: float) -> float:
    """Operations of one token: the embedding is looked up, the head multiplied."""
    multiplied = model.layers * model.linear + model.vocab * model.hidden
    return 2 * multiplied + 2 * model.layers * model.heads * model.head * length
