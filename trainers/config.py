"""The schema of a run's config: which keys there are, of what type and range.

`conf/` holds every default; a section here names a key once more only to say what may stand there. `config_check.py`
checks a config against it.
"""

from typing import Annotated, Literal

from pydantic import Field

from trainers.data_config import Bandit, HubPairs, Jsonl, OnePair, Orca, Toy, Unpaired
from trainers.evaluation_config import Evaluation
from trainers.method_config import MethodSection
from trainers.methods import METHODS
from trainers.reference_config import Reference
from trainers.sections import Count, Section, Share, asked
from trainers.start_config import BaseStart, Start

# transformers' own list, written out so that a typo is told without importing torch.
Optimizer = Literal[
    "adamw_torch", "adamw_torch_fused", "adamw_torch_xla", "adamw_torch_npu_fused", "adafactor", "adamw_anyprecision",
    "adamw_torch_4bit", "adamw_torch_8bit", "ademamix", "sgd", "adagrad", "adamw_bnb_8bit", "adamw_8bit",
    "ademamix_8bit", "lion_8bit", "lion_32bit", "paged_adamw_32bit", "paged_adamw_8bit", "paged_ademamix_32bit",
    "paged_ademamix_8bit", "paged_lion_32bit", "paged_lion_8bit", "rmsprop", "rmsprop_bnb", "rmsprop_bnb_8bit",
    "rmsprop_bnb_32bit", "galore_adamw", "galore_adamw_8bit", "galore_adafactor", "galore_adamw_layerwise",
    "galore_adamw_8bit_layerwise", "galore_adafactor_layerwise", "lomo", "adalomo", "grokadamw", "schedule_free_radam",
    "schedule_free_adamw", "schedule_free_sgd", "apollo_adamw", "apollo_adamw_layerwise", "stable_adamw",
]  # fmt: skip


class Model(Section):
    name: str
    path: Annotated[str, asked("the model to train, a hub id or a folder", "/models/mine")]
    revision: str | None
    tokenizer: str | None
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"]
    chat_template: str | None
    parameters_b: Annotated[float, Field(gt=0, le=1e5)] | None
    prequantized: bool


class NoQuantization(Section):
    kind: Literal["none"]


class NF4(Section):
    kind: Literal["nf4"]
    double_quant: bool


class FullFineTuning(Section):
    kind: Literal["none"]


class LoRA(Section):
    kind: Literal["lora"]
    r: Count
    alpha: Count
    dropout: Share
    # all-linear, a regular expression of whole module names, or a list of their ends.
    target_modules: str | list[str]
    # Specs of studies older than these have neither.
    use_dora: bool = False
    use_rslora: bool = False


class Training(Section):
    epochs: Annotated[float, Field(gt=0, allow_inf_nan=False, le=1e6)]
    max_steps: Annotated[int, Field(ge=1)] | Literal[-1]
    batch_size: Count
    gradient_accumulation: Count
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    lr_scheduler: Literal["linear", "cosine", "constant", "constant_with_warmup", "cosine_with_min_lr"]
    warmup: Share
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    max_grad_norm: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    optimizer: Optimizer
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    gradient_checkpointing: bool
    max_length: Annotated[int, Field(ge=8)]
    logging_steps: Count
    save_steps: Annotated[int, Field(ge=0)]
    keep_checkpoints: Count
    save_final: bool
    # Specs of studies older than this have none.
    save_checkpoints: bool = False


class Tracking(Section):
    mode: Literal["auto", "online", "offline", "disabled"]
    project: str
    entity: str | None
    base_url: str | None


class RunConfig(Section):
    """All that a run computes and tracks; RunSpec.config is this as plain values."""

    method: MethodSection = Field(discriminator="name")
    model: Model
    # Specs of studies older than this have none.
    start: Start = Field(default=BaseStart(kind="base"), discriminator="kind")
    reference: Reference = Field(discriminator="kind")
    data: Toy | Jsonl | Unpaired | HubPairs | Orca | Bandit | OnePair = Field(discriminator="kind")
    quantization: NoQuantization | NF4 = Field(discriminator="kind")
    peft: FullFineTuning | LoRA = Field(discriminator="kind")
    training: Training
    evaluation: Evaluation
    tracking: Tracking
    seed: Annotated[int, Field(ge=0, lt=2**32)]

    @property
    def answers_a_step(self) -> int | None:
        """Rows of an optimiser step where the data have answers one by one; None where they are pairs.

        Two answers stand for a pair, so that a step costs what it costs other methods; demonstrations are one each.
        """
        if not isinstance(self.data, Unpaired):
            return None
        rows = 2 if METHODS[self.method.name].data_format == "unpaired" else 1
        return rows * self.training.batch_size * self.training.gradient_accumulation

    @property
    def strength(self) -> float | None:
        """The method's beta, tau or lambda."""
        key = METHODS[self.method.name].strength
        return None if key is None else float(self.method.model_dump(by_alias=True)[key])


RUN_SECTIONS = tuple(RunConfig.model_fields)
