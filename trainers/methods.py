"""The methods, one row each: what a reader wants to know before choosing, and what the engine needs to start one.

`method=ipo` -> METHODS["ipo"] -> trl's DPOTrainer with loss_type ipo, whose `beta` gets our `method.tau`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Method:
    """A loss with its data format and its needs."""

    name: str
    # The function of trainers.trl_engine that builds the trainer.
    engine: str
    # The key of `method.` that holds the policy back, None where there is none; on the command line also `beta`.
    strength: str | None
    needs_reference: bool
    data_format: Literal["pairs", "demonstrations"]
    paper: str
    # Arguments of the trainer that make the method what it is.
    fixed: Mapping[str, Any] = field(default_factory=dict)


METHODS: Mapping[str, Method] = {
    method.name: method
    for method in (
        Method("dpo", "dpo", "beta", True, "pairs", "arXiv:2305.18290, eq. 7", {"loss_type": ["sigmoid"]}),
        Method("ipo", "dpo", "tau", True, "pairs", "arXiv:2310.12036, eq. 17", {"loss_type": ["ipo"]}),
        Method("orpo", "orpo", "lambda", False, "pairs", "arXiv:2403.07691, eq. 6"),
        Method("sft", "sft", None, False, "demonstrations", "maximum likelihood of the chosen answers"),
    )
}
