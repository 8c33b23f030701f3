"""TRL's trainers, fed with our tokenised pairs, reference log-probabilities and losses.

What our subclasses change: `trainers.trainer_base`, `pair_trainer`, `unpaired_trainer`, `weighed_trainer`,
`reward_trainer`. Where several ranks train, each of them is also a `trainers.data_parallel.DataParallel`.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from trl import DPOConfig, RewardConfig, SFTConfig, SFTTrainer

from trainers import checkpoints, losses
from trainers.config import RunConfig
from trainers.data import TokenisedPair
from trainers.data_parallel import DataParallel
from trainers.distributed import ALONE, World
from trainers.evaluation.scorer import Scores
from trainers.method_config import RLOO, Reward
from trainers.methods import METHODS
from trainers.metric_names import from_trl
from trainers.models import Policy
from trainers.moving_reference import MovingReference
from trainers.pair_trainer import PairTrainer
from trainers.reward_trainer import RewardPreparedTrainer, reward_rows
from trainers.schedule import total_steps
from trainers.trainer_base import PreparedTrainer
from trainers.unpaired_trainer import UnpairedCollator, UnpairedTrainer, answer_rows, unpaired_rows
from trainers.weighed_trainer import WeighedAnswer, WeighedCollator, WeighedTrainer, weighed_rows


class Watch(Protocol):
    """Who is told of the training's progress; a True asks it to save a checkpoint and stop."""

    def step(self, step: int) -> bool:
        """An optimiser step is done."""

    def logged(self, step: int, metrics: Mapping[str, float]) -> bool:
        """The trainer has metrics to tell, under `train/`."""


@dataclass(frozen=True)
class Training:
    """All that a trainer is made of. `reference` holds the training pairs' scores, for methods that need them."""

    config: RunConfig
    policy: Policy
    pairs: Sequence[TokenisedPair]
    reference: Scores | None
    # The folder for checkpoint-N folders.
    checkpoints: Path
    watch: Watch
    # For methods on unpaired answers: answers to other prompts, and the reference's scores of them.
    mismatched: tuple[Sequence[TokenisedPair], Scores] | None = None
    # Where the answers came one by one, which of them are good; `pairs` are then those of `beside_others`.
    desirable: Sequence[bool] | None = None
    # For methods on answers with advantages, which have no pairs.
    answers: Sequence[WeighedAnswer] = ()
    # Who trains; all ranks are given the same.
    world: World = ALONE

    @property
    def size(self) -> int:
        """In pairs, of which a step takes so many: two answers count as one."""
        return len(self.pairs) or (len(self.answers) + 1) // 2


@dataclass(frozen=True)
class Ended:
    """How far training came, and whether it was asked to stop before its end."""

    steps: int
    stopped: bool
    # Saves a checkpoint of where training ended, for a stop that is asked after it.
    save: Callable[[], None]


def train(training: Training) -> Ended:
    """Train the policy in place, from its newest whole checkpoint if there is one.

    Raises NonFiniteLoss at the first step whose loss or gradient is NaN or infinite.
    """
    trainer, callback = build(training)
    if training.world.first:
        checkpoints.drop_halves(training.checkpoints)
    start = training.world.agreed(checkpoints.newest_whole(training.checkpoints))
    if start is not None and checkpoints.step(start) >= total_steps(training.config, training.size):
        return _ended_before(trainer, start, training.watch)
    trainer.train(resume_from_checkpoint=None if start is None else str(start))
    return Ended(trainer.state.global_step, callback.stopped, trainer.save_now)


def _ended_before(trainer: Any, last: Path, watch: Watch) -> Ended:
    """Go on from a checkpoint of the last step, after which the trainer would take one more."""
    trainer._load_from_checkpoint(str(last))
    step = checkpoints.step(last)
    # What was told of that step is this attempt's last word on training too.
    told: dict[str, float] = {}
    for entry in TrainerState.load_from_json(str(last / TRAINER_STATE_NAME)).log_history:
        told |= from_trl(entry) if entry["step"] == step else {}
    return Ended(step, watch.logged(step, told), save=lambda: None)


def build(training: Training) -> tuple[Any, "_Progress"]:
    """The trainer of the config's method, ready to train, and the callback that watches it."""
    engine: Callable[[Training], Any] = _ENGINES[METHODS[training.config.method.name].data_format]
    # For a model in 4 bits TRL turns a given adapter to bf16, where small steps round to nothing: it stays in fp32.
    adapter = [(weight, weight.data) for weight in training.policy.model.parameters() if weight.requires_grad]
    trainer = engine(training)
    for weight, data in adapter:
        weight.data = data
    trainer.keep_checkpoints, trainer.world = training.config.training.keep_checkpoints, training.world
    if not training.world.first:
        # From here on only dropout draws, and other pairs want other masks.
        torch.manual_seed(training.config.seed + training.world.rank)
    trainer.remove_callback(PrinterCallback)
    callback = _Progress(training.watch)
    trainer.add_callback(callback)
    return trainer, callback


def _pairs(training: Training) -> Any:
    method = METHODS[training.config.method.name]
    return _prepared(
        PairTrainer,
        training,
        rows=[
            {
                "prompt_ids": list(pair.prompt_ids),
                "chosen_ids": list(pair.chosen_ids),
                "rejected_ids": list(pair.rejected_ids),
                "ref_chosen_logps": chosen,
                "ref_rejected_logps": rejected,
            }
            for pair, chosen, rejected in zip(training.pairs, *_columns(training.reference, training), strict=True)
        ],
        loss=bound_loss(training.config),
        reward_scale=training.config.strength,
        reward_per_token=method.per_token,
        learns_prompt=method.name == "orpo",
        moving=_moving(training),
    )


def _columns(reference: Scores | None, training: Training) -> tuple[list[float], list[float]]:
    """The reference's log-probabilities of chosen and rejected answers; 0 where the loss has none, or a moving one."""
    if reference is None:
        nothing = [0.0] * len(training.pairs)
        return nothing, nothing
    return reference.chosen_logps.tolist(), reference.rejected_logps.tolist()


def _moving(training: Training) -> MovingReference | None:
    reference = training.config.reference
    if reference.kind != "moving":
        return None
    return MovingReference(training.policy.model, reference.mixup, reference.sync_steps)


def _unpaired(training: Training) -> Any:
    return _prepared(
        UnpairedTrainer,
        training,
        rows=_answers(training),
        loss=bound_loss(training.config),
        reward_scale=training.config.strength,
        data_collator=UnpairedCollator(training.policy.pad_id),
    )


def _answers(training: Training) -> list[dict[str, Any]]:
    assert training.reference is not None
    if training.desirable is not None:
        return answer_rows(training.pairs, training.desirable, training.reference)
    assert training.mismatched is not None
    return unpaired_rows(training.pairs, training.reference, *training.mismatched)


def _weighed(training: Training) -> Any:
    method = training.config.method
    assert isinstance(method, RLOO)
    return _prepared(
        WeighedTrainer,
        training,
        rows=weighed_rows(training.answers),
        clip=method.clip,
        data_collator=WeighedCollator(training.policy.pad_id),
    )


def _prepared(trainer: type, training: Training, **kwargs: Any) -> Any:
    arguments = _arguments(training)
    if trainer in (UnpairedTrainer, WeighedTrainer):
        # Two answers stand for a pair, so that a step costs what it costs other methods, and there are as many.
        arguments["per_device_train_batch_size"] *= 2
    return _of(trainer, training.world)(
        args=_on_one_gpu(DPOConfig(**arguments, max_length=None, disable_dropout=False)),
        model=training.policy.model,
        # Without one, TRL would load a second model from disk, or copy the adapter.
        ref_model=_stand_in(),
        processing_class=training.policy.tokenizer,
        **kwargs,
    )


def bound_loss(config: RunConfig) -> Callable[..., torch.Tensor]:
    """The method's loss, its options set as the config says."""
    loss = getattr(losses, METHODS[config.method.name].loss)
    options = inspect.signature(loss).parameters
    return functools.partial(loss, **{k: v for k, v in config.method.model_dump().items() if k in options})


def _sft(training: Training) -> Any:
    return _of(SFTPreparedTrainer, training.world)(
        rows=[
            {
                "input_ids": [*pair.prompt_ids, *pair.chosen_ids],
                "labels": [-100] * len(pair.prompt_ids) + list(pair.chosen_ids),
            }
            for pair in training.pairs
        ],
        args=_on_one_gpu(SFTConfig(**_arguments(training), max_length=None)),
        model=training.policy.model,
        processing_class=training.policy.tokenizer,
    )


def _reward(training: Training) -> Any:
    method = training.config.method
    assert isinstance(method, Reward)
    return _of(RewardPreparedTrainer, training.world)(
        rows=reward_rows(training.pairs),
        args=_on_one_gpu(
            RewardConfig(
                **_arguments(training),
                max_length=None,
                disable_dropout=False,
                center_rewards_coefficient=method.center or None,
            )
        ),
        model=training.policy.model,
        processing_class=training.policy.tokenizer,
    )


def _of(trainer: type, world: World) -> Callable[..., Any]:
    return type(f"{trainer.__name__}DataParallel", (DataParallel, trainer), {}) if world.shared else trainer


_ENGINES = {
    "pairs": _pairs,
    "unpaired": _unpaired,
    "demonstrations": _sft,
    "comparisons": _reward,
    # Methods that make pairs or demonstrations train on them by another method's name.
    "prompts": _weighed,
}


def _arguments(training: Training) -> dict[str, Any]:
    """Arguments that all trainers take, from the `training` section."""
    config = training.config.training
    cuda = torch.cuda.is_available()
    return {
        "output_dir": str(training.checkpoints),
        "num_train_epochs": config.epochs,
        "max_steps": config.max_steps,
        "per_device_train_batch_size": config.batch_size,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.lr_scheduler,
        # The one scheduler that cannot do without an argument: it ends at a tenth of the learning rate.
        "lr_scheduler_kwargs": {"min_lr_rate": 0.1} if config.lr_scheduler == "cosine_with_min_lr" else None,
        # transformers 5 reads what is less than 1 as a share.
        "warmup_steps": config.warmup,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "optim": config.optimizer,
        "bf16": training.policy.precision == "bf16",
        "fp16": training.policy.precision == "fp16",
        "use_cpu": not cuda,
        "dataloader_pin_memory": cuda,
        # The trainer's new word for gradient_checkpointing; the old one would be a warning in each log.
        "activation_checkpointing": config.gradient_checkpointing,
        "logging_strategy": "steps",
        "logging_steps": config.logging_steps,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if config.save_steps else "no",
        "save_steps": config.save_steps or 1,
        "seed": training.config.seed,
        "data_seed": training.config.seed,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": "none",
        # Every trained weight is in every forward pass, and no buffer changes: DDP need not look for either.
        "ddp_find_unused_parameters": False,
        "ddp_broadcast_buffers": False,
    }


def _on_one_gpu(args: Any) -> Any:
    """Where several GPUs are visible, the trainer would spread batches over all, and TRL refuse."""
    if args.n_gpu > 1:
        args._n_gpu = 1
    return args


def _stand_in() -> LlamaForCausalLM:
    """The smallest model that TRL takes for a reference; it is never asked anything."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=3, hidden_size=2, intermediate_size=1, num_hidden_layers=0, num_attention_heads=1, pad_token_id=0
        )
    )


class SFTPreparedTrainer(PreparedTrainer, SFTTrainer):  # type: ignore[misc]
    """-log π(w|x), the mean over the tokens of a batch's chosen answers; prompts are not learnt.

    Rows are {input_ids, labels}.
    """


class _Progress(TrainerCallback):  # type: ignore[misc]
    """Tells the watch of every step and every log, and stops the trainer when it is asked to."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.stopped = False

    def on_step_end(self, _args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            # The last values are told, whatever logging_steps; what follows saves the model itself.
            control.should_log, control.should_save = True, False
        if self._watch.step(state.global_step):
            self._stop(control)

    def on_log(self, _args: Any, state: Any, control: Any, logs: Mapping[str, Any], **_kwargs: Any) -> None:
        stop = self._watch.logged(state.global_step, from_trl(logs))
        # The very last log tells of training that is over.
        if stop and "train_runtime" not in logs:
            self._stop(control)

    def _stop(self, control: Any) -> None:
        self.stopped = True
        control.should_save = control.should_training_stop = True
