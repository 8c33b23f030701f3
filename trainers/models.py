"""Loads the policy: base weights, 4-bit or not, with a LoRA adapter or without, and the tokenizer."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    set_seed,
)
from trl.trainer.reward_trainer import suppress_seqcls_warning
from trl.trainer.utils import disable_dropout_in_model

from trainers import chat_templates, start_kinds, toys, world
from trainers.config import RunConfig
from trainers.errors import InvalidInput
from trainers.paths import local_path
from trainers.stacked import StackedPolicy, merged

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Task:
    """What a model is for: its class, and what is particular about loading it and about its adapter."""

    architecture: Any
    weights: Mapping[str, Any]
    adapter: Mapping[str, Any]
    # Whether a saved adapter has its tokenizer beside it: other runs load it without this run's config.
    self_contained: bool


WRITING = Task(AutoModelForCausalLM, {}, {"task_type": "CAUSAL_LM"}, self_contained=False)
# One number for a text; the head that gives it is new, and so trained and saved whole.
RATING = Task(
    AutoModelForSequenceClassification,
    {"num_labels": 1},
    {"task_type": "SEQ_CLS", "modules_to_save": ["score"]},
    self_contained=True,
)


@dataclass(frozen=True)
class Policy:
    """A model that is to be trained, its tokenizer, and the precision of its arithmetic.

    `model` is a transformers model of the task's class, or peft's wrapping of one; it lies on its device.
    """

    model: Any
    tokenizer: Any
    precision: Precision
    task: Task = WRITING

    @property
    def pad_id(self) -> int:
        """Token that fills up shorter sequences of a batch; attention masks leave it out."""
        return int(self.tokenizer.pad_token_id)

    @property
    def autocast(self) -> torch.dtype | None:
        """What forward passes compute in where that is not the weights' own dtype."""
        return None if self.precision == "fp32" else _DTYPES[self.precision]


def load_policy(config: RunConfig, cache_dir: Path, task: Task = WRITING) -> Policy:
    """The policy before its first step; the adapter's random start depends on `config.seed` alone.

    `config.start` must name folders where it names anything (`trainers.needed_runs`). Raises InvalidInput for what
    cannot work on this machine or does not fit the model, OSError where the weights are not found.
    """
    precision = resolve_precision(config)
    set_seed(config.seed)
    begins = start_kinds.weights(config)
    model = load_base(config, begins.path, begins.revision, cache_dir, task)
    if config.peft.kind == "lora":
        # Again, for what loading may have drawn.
        set_seed(config.seed)
        # Not peft's prepare_model_for_kbit_training: it turns embeddings and head to fp32, gigabytes for a vocabulary
        # of 128k. What else it does, freezing and gradients for checkpointing, get_peft_model and the trainers do.
        adapter = LoraConfig(
            r=config.peft.r,
            lora_alpha=config.peft.alpha,
            lora_dropout=config.peft.dropout,
            target_modules=config.peft.target_modules,
            use_dora=config.peft.use_dora,
            use_rslora=config.peft.use_rslora,
            **task.adapter,
        )
        if begins.adapter is None:
            model = get_peft_model(model, adapter)
        else:
            model = StackedPolicy(model, begins.adapter, adapter)
        model.create_or_update_model_card = _no_model_card
    elif begins.adapter is not None:
        model = merged(model, begins.adapter)
    return Policy(model, load_tokenizer(config, cache_dir), precision, task)


def load_base(config: RunConfig, path: str, revision: str | None, cache_dir: Path, task: Task = WRITING) -> Any:
    """The weights at `path` (a hub id, a folder or builtin:tiny), as the config's model and quantization say.

    Dropout is off in them, as in TRL, so that log-probabilities are the policy's own; an adapter's is kept.
    """
    dtype = weights_dtype(config)
    quantized = config.quantization.kind == "nf4" and not config.model.prequantized
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    # That a head is new where one is asked for need not be told.
    with suppress_seqcls_warning():
        model = task.architecture.from_pretrained(
            str(locate(path, cache_dir)),
            revision=revision,
            dtype=dtype,
            attn_implementation=attention(config, path, revision, dtype, cache_dir),
            device_map={"": device} if device.type == "cuda" or quantized or config.model.prequantized else None,
            trust_remote_code=False,
            **task.weights,
            # Not even None otherwise: that would make a checkpoint stored in 4 bits forget that it is.
            **({"quantization_config": _nf4(config, dtype)} if quantized else {}),
        )
    keep_from_repacking(model)
    disable_dropout_in_model(model)
    return model


def load_tokenizer(config: RunConfig, cache_dir: Path) -> Any:
    """The policy's tokenizer, with the chat template of `model.chat_template`; padding is the end of text if need be.

    No token is added: embeddings keep their size. Raises InvalidInput where there is neither a padding nor an end.
    """
    path = config.model.tokenizer or config.model.path
    revision = config.model.revision if config.model.tokenizer is None else None
    return completed(tokenizer_at(path, revision, cache_dir), config.model.chat_template, path)


def completed(tokenizer: Any, chat_template: str | None, path: str) -> Any:
    """The tokenizer of `path` with that chat template, built-in or a file, and a padding, as in `load_tokenizer`."""
    if chat_template is not None:
        tokenizer.chat_template = _template(chat_template)
    if tokenizer.eos_token_id is None:
        raise InvalidInput([f"the tokenizer of {path} has no end-of-text token: give another one, model.tokenizer=..."])
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _template(name: str) -> str:
    """The text of a built-in chat template, or of a file."""
    template = chat_templates.named(name)
    if template is not None:
        return template
    path = local_path(name)
    if not path.is_file():
        raise InvalidInput([f"model.chat_template: no such file: {path}"])
    return path.read_text()


def tokenizer_at(path: str, revision: str | None, cache_dir: Path) -> Any:
    """The tokenizer stored with the model at `path`."""
    return AutoTokenizer.from_pretrained(str(locate(path, cache_dir)), revision=revision, trust_remote_code=False)


def locate(path: str, cache_dir: Path) -> Path:
    """`builtin:tiny` -> the folder of the built-in world's policy; `~` is the home folder; hub ids as they are."""
    if path == "builtin:tiny":
        return world.policy(cache_dir)
    if toys.is_toy(path):
        return toys.folder(path, cache_dir)
    if path.startswith("builtin:"):
        raise InvalidInput([f"model.path: {path} is not built in; there is builtin:tiny, {toys.FORMS}"])
    return local_path(path)


def resolve_precision(config: RunConfig) -> Precision:
    """`training.precision`, where auto is what this machine computes fastest in: see `best_precision`."""
    asked = config.training.precision
    if asked == "auto":
        return best_precision(torch.cuda.get_device_capability() if torch.cuda.is_available() else None)
    if asked == "fp16" and not torch.cuda.is_available():
        raise InvalidInput(["training.precision: fp16 needs a GPU, and there is none: use fp32, bf16 or auto"])
    return asked


def best_precision(capability: tuple[int, int] | None) -> Precision:
    """bf16 on GPUs from Ampere on, fp16 on those before that have tensor cores, fp32 on older ones and without a GPU.

    `capability` is the GPU's compute capability: (7, 5) for a T4, which torch says supports bf16, as it emulates it.
    """
    if capability is None or capability < (7, 0):
        return "fp32"
    return "bf16" if capability >= (8, 0) else "fp16"


def weights_dtype(config: RunConfig) -> torch.dtype:
    """`model.dtype`, where auto follows the precision if the weights are frozen, and is fp32 if they are trained.

    In 16 bits the steps of full fine-tuning mostly round to nothing: bf16 has 8 bits, and 1.0 + 0.001 = 1.0.
    """
    if config.model.dtype != "auto":
        dtype: torch.dtype = getattr(torch, config.model.dtype)
    else:
        dtype = torch.float32 if config.peft.kind == "none" else _DTYPES[resolve_precision(config)]
    if config.peft.kind == "none" and resolve_precision(config) == "fp16" and dtype == torch.float16:
        raise InvalidInput(["model.dtype: float16 weights cannot be trained in fp16: use model.dtype=float32 or auto"])
    return dtype


def attention(config: RunConfig, path: str, revision: str | None, dtype: torch.dtype, cache_dir: Path) -> str:
    """`model.attention`, where auto is the fastest that is installed and suits the model at `path`."""
    if config.model.attention != "auto":
        return config.model.attention
    if not torch.cuda.is_available() or importlib.util.find_spec("flash_attn") is None:
        return "sdpa"
    found = AutoConfig.from_pretrained(str(locate(path, cache_dir)), revision=revision, trust_remote_code=False)
    return best_attention(found, dtype, torch.cuda.get_device_capability())


def best_attention(model: PreTrainedConfig, dtype: torch.dtype, capability: tuple[int, int]) -> str:
    """The fastest attention where flash_attn is installed; it wants 16 bits, an Ampere GPU, and a model that knows it.

    `capability` is the GPU's compute capability: (8, 0) for an A100.
    """
    suits = dtype != torch.float32 and capability >= (8, 0)
    architecture = AutoModelForCausalLM._model_mapping.get(type(model), None)
    return "flash_attention_2" if suits and getattr(architecture, "_supports_flash_attn", False) else "sdpa"


def _nf4(config: RunConfig, dtype: torch.dtype) -> Any:
    assert config.quantization.kind == "nf4"
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=config.quantization.double_quant,
        bnb_4bit_compute_dtype=dtype,
    )


def keep_from_repacking(model: Any) -> None:
    """Switch off bitsandbytes' repacking of 4-bit weights for AVX512: after it, gradients are silently wrong."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _no_model_card(_folder: str) -> None:
    """Peft would write a README.md full of blanks into every checkpoint."""
