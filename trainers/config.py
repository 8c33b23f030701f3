"""The schema of a run's config: which keys there are, of what type and range, and what does not go together.

`conf/` holds every default; a section here names a key once more only to say what may stand there. Unknown keys, wrong
types and values out of range are told all at once by `check`.
"""

import copy
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from trainers.errors import InvalidInput
from trainers.method_config import Backtranslation, MethodSection, OnlineDPO
from trainers.methods import GOLD, METHODS, STILL
from trainers.sections import Count, Section, Share

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
    path: str
    revision: str | None
    tokenizer: str | None
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"]
    chat_template: str | None
    parameters_b: Annotated[float, Field(gt=0, le=1e5)] | None
    prequantized: bool


# How the reference's weights are stored: as the policy's are, or otherwise.
Quantised = Literal["same", "none", "nf4"]


class OtherReference(Section):
    quantization: Quantised = "same"
    # Used by some kinds only; there so that reference=self,model may be swept beside one reference.path.
    path: str | None = None
    revision: str | None = None
    first: str | None = None
    second: str | None = None
    weight: float | None = None


class SelfReference(OtherReference):
    kind: Literal["self"]


class NoReference(OtherReference):
    kind: Literal["none"]


class MovingReference(OtherReference):
    kind: Literal["moving"]
    mixup: Annotated[float, Field(gt=0, le=1)]
    sync_steps: Count


class RunReference(OtherReference):
    kind: Literal["run"]
    # What tells that run from the others of its study, as {"method": "sft"}.
    run: Annotated[dict[str, str | int | float | bool | None], Field(min_length=1)]
    # Its fingerprint, once the study is planned.
    of: str | None = None


class ModelReference(OtherReference):
    kind: Literal["model"]
    path: str


class AdapterReference(OtherReference):
    kind: Literal["adapter"]
    path: str


class CheckpointReference(OtherReference):
    kind: Literal["checkpoint"]
    path: str


class MixtureReference(OtherReference):
    kind: Literal["mixture"]
    first: str
    second: str
    # Of the first; the second has the rest.
    weight: Annotated[float, Field(gt=0, lt=1)]


Reference = (
    SelfReference | NoReference | MovingReference | RunReference | ModelReference | AdapterReference
    | CheckpointReference | MixtureReference
)  # fmt: skip


class Data(Section):
    max_train_samples: Count | None
    max_eval_samples: Count | None


class Toy(Data):
    kind: Literal["toy"]
    seed: Annotated[int, Field(ge=0)]


class Jsonl(Data):
    kind: Literal["jsonl"]
    path: str
    eval_path: str | None
    eval_fraction: Annotated[float, Field(gt=0, lt=1)]
    split_seed: int
    prompt_field: str
    chosen_field: str
    rejected_field: str


class Unpaired(Data):
    kind: Literal["unpaired"]
    path: str
    prompt_field: str
    completion_field: str
    label_field: str
    eval_path: str
    eval_prompt_field: str
    eval_chosen_field: str
    eval_rejected_field: str


class HubPairs(Data):
    kind: Literal["hh", "ultrafeedback"]
    path: str
    revision: str | None
    train_split: str
    eval_split: str


class Orca(Data):
    kind: Literal["orca"]
    path: str
    revision: str | None
    train_split: str
    eval_split: str | None
    eval_fraction: Annotated[float, Field(gt=0, lt=1)]
    split_seed: int


class Bandit(Section):
    kind: Literal["bandit"]
    pairs: Annotated[str, Field(pattern=r"^[a-z]{2}(\*[1-9]\d{0,3})?( +[a-z]{2}(\*[1-9]\d{0,3})?)*$")]
    draws: Count | None


Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class OnePair(Section):
    kind: Literal["one_pair"]
    prompt: Tokens
    chosen: Tokens
    rejected: Tokens


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


class Evaluation(Section):
    every: Annotated[int, Field(ge=0)]
    batch_size: Count
    # 0 for the records of runs that know nothing of it.
    samples: Annotated[int, Field(ge=0)] = 0


class Tracking(Section):
    mode: Literal["auto", "online", "offline", "disabled"]
    project: str
    entity: str | None
    base_url: str | None


class RunConfig(Section):
    """All that a run computes and tracks; RunSpec.config is this as plain values."""

    method: MethodSection = Field(discriminator="name")
    model: Model
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


def check(config: Mapping[str, Any]) -> RunConfig:
    """The config with types, or InvalidInput with every fault in it."""
    missing = [f"{key}: must be given: {key}=..." for key in _missing(config)]
    try:
        checked = RunConfig.model_validate(config)
    except ValidationError as error:
        raise InvalidInput([*missing, *describe(error, config)]) from None
    if missing:
        raise InvalidInput(missing)
    faults = list(_conflicts(checked))
    if faults:
        raise InvalidInput(faults)
    return checked


def _missing(config: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """Keys that a config file left open with ???, Hydra's sign for what the user must give."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _missing(value, f"{prefix}{key}.")
        elif value == "???":
            yield f"{prefix}{key}"


def mended(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> RunConfig | None:
    """The config with each value at fault put back to its default, so that what else is wrong can be found too.

    None where that does not help: a value that must be given is missing.
    """
    if any(_missing(config)):
        return None
    trial = copy.deepcopy(dict(config))
    try:
        return RunConfig.model_validate(trial)
    except ValidationError as error:
        for item in error.errors():
            _put_back(trial, defaults, _path(item["loc"], config))
    try:
        return RunConfig.model_validate(trial)
    except ValidationError:
        return None


def _put_back(config: dict[str, Any], defaults: Mapping[str, Any], path: list[str]) -> None:
    node: Any = config
    default: Any = defaults
    for part in path[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
        default = default.get(part, {}) if isinstance(default, Mapping) else {}
    if isinstance(node, dict):
        node.pop(path[-1], None)
        if isinstance(default, Mapping) and path[-1] in default:
            node[path[-1]] = default[path[-1]]


def _conflicts(config: RunConfig) -> Iterable[str]:
    method = METHODS[config.method.name]
    if method.reference == "moving" and config.reference.kind != "moving":
        yield (
            f"method={method.name} needs a reference that moves, but reference={config.reference.kind}: "
            "use reference=moving, or method=dpo"
        )
    elif method.needs_reference and config.reference.kind == "none":
        yield (
            f"method={method.name} needs a reference, but reference=none: "
            "use reference=self, or reference=model reference.path=..."
        )
    if config.reference.kind == "moving" and config.reference.quantization != "same":
        yield "reference.quantization: a reference that moves has the policy's own weights: leave it as same"
    if config.reference.kind == "moving" and (method.reference not in ("moving", "fixed") or method.name in STILL):
        yield f"method={method.name} has no use for reference=moving: use reference=self"
    if isinstance(config.data, Unpaired) and method.data_format == "pairs":
        alone = next(name for name, other in METHODS.items() if other.data_format == "unpaired")
        yield (
            f"method={method.name} learns from pairs, but data=unpaired has answers one by one: "
            f"use method={alone}, or data with pairs"
        )
    if isinstance(config.data, Unpaired) and method.data_format in ("comparisons", "prompts"):
        yield f"method={method.name} needs pairs, but data=unpaired has answers one by one: use data with pairs"
    if isinstance(config.data, Bandit | OnePair) and method.data_format in ("comparisons", "prompts"):
        yield f"method={method.name} needs texts, but data={config.data.kind} is token ids: use other data"
    if config.evaluation.samples and not (
        config.data.kind == "toy" and config.peft.kind == "lora" and config.reference.kind in ("self", "none", "moving")
    ):
        yield (
            f"evaluation.samples={config.evaluation.samples}: samples are judged by the built-in world's own reward, "
            "beside the policy without its adapter: use data=toy, peft=lora and reference=self"
        )
    if method.data_format == "comparisons" and config.reference.kind not in ("self", "none"):
        yield f"method={method.name} trains no policy, and compares with no reference: leave reference=self"
    yield from _unrewarded(config)
    quantized = config.quantization.kind != "none" or config.model.prequantized
    if quantized and config.peft.kind == "none":
        yield (
            f"peft=none trains every weight, but the weights of model={config.model.name} are in 4 bits: "
            "use peft=lora, or a model and quantization=none that are not quantised"
        )


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
        yield from _no_endpoint(method.judge.base_url)
    if given is not None and judged:
        yield "method.reward_model and method.judge both say what answers are worth: give one of them"
    if given == GOLD and config.data.kind != "toy":
        yield f"method.reward_model={GOLD} knows the built-in world only: use data=toy, or another reward model"
    elif given is not None and given != GOLD and given.startswith("builtin:"):
        yield f"method.reward_model={given}: the only one built in is {GOLD}"


def _no_endpoint(url: str) -> Iterable[str]:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        sound = False
    if "@" in url:
        # Not quoted: what stands there would be in a log.
        yield "method.judge.base_url: no name or password in the address: the key comes from method.judge.key_variable"
    elif not sound:
        yield f"method.judge.base_url={url}: that is no address such as https://api.openai.com/v1"


def describe(error: ValidationError, config: Mapping[str, Any]) -> list[str]:
    """Each fault of a pydantic error in the words of the command line.

    {"method": {"betta": 1}} -> "method.betta: no such key; did you mean method.beta? (keys: beta, name)"
    """
    faults: dict[str, list[str]] = {}
    for item in error.errors():
        path = _path(item["loc"], config)
        key, given = ".".join(path), item["input"]
        if item["type"] == "extra_forbidden":
            told = unknown_key(key, _siblings(config, path))
        elif item["type"] == "missing":
            told = f"{key}: must be given: {key}=..."
        elif item["type"].startswith("union_tag"):
            told = f"{key}: no such option; valid are {item.get('ctx', {}).get('expected_tags', '')}"
        else:
            told = f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, got {given!r}{_nearest_literal(item)}"
        faults.setdefault(key, []).append(told)
    # A value that may be of several types is at fault once for each of them.
    return [told[0] if len(told) == 1 else _either(key, told) for key, told in faults.items()]


def _path(location: Iterable[Any], config: Mapping[str, Any]) -> list[str]:
    """A key as the config has it: pydantic's locations also name the options of a union that it tried."""
    path: list[str] = []
    node: Any = config
    parts = [str(part) for part in location]
    for place, part in enumerate(parts):
        if isinstance(node, Mapping) and part in node:
            node = node[part]
            path.append(part)
        elif isinstance(node, Mapping) and place == len(parts) - 1:
            path.append(part)
    return path


def _either(key: str, told: list[str]) -> str:
    """ "a: input should be 'auto', got 0" and "a: input should be above 0, got 0" in one."""
    reasons = [reason.removeprefix(f"{key}: ") for reason in told]
    return f"{key}: " + ", or ".join(reason.rpartition(", got ")[0] for reason in reasons[:-1]) + f", or {reasons[-1]}"


def _nearest_literal(item: Mapping[str, Any]) -> str:
    """A hint to the valid word nearest to the one given, where only certain words are valid."""
    if item["type"] != "literal_error":
        return ""
    near = difflib.get_close_matches(str(item["input"]), re.findall(r"'([^']+)'", item["ctx"]["expected"]), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def unknown_key(key: str, valid: Iterable[str]) -> str:
    """The message for a key that is not there, naming the nearest one that is."""
    parent, _, leaf = key.rpartition(".")
    names = sorted(valid)
    near = difflib.get_close_matches(leaf, names, n=1, cutoff=0.5)
    where = f"{parent}." if parent else ""
    hint = f"did you mean {where}{near[0]}? " if near else ""
    return f"{key}: no such key; {hint}(keys{' of ' + parent if parent else ''}: {', '.join(names)})"


def _siblings(config: Mapping[str, Any], path: list[str]) -> set[str]:
    node: Any = config
    for part in path[:-1]:
        node = node.get(part, {})
    return set(node) - {path[-1]}
