"""What a method needs of a reference before it trains, split by split, and from whom."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trainers.config import RunConfig
from trainers.data import TokenisedPair
from trainers.distributed import ALONE, World
from trainers.evaluation.scorer import Scores
from trainers.methods import METHODS
from trainers.models import Policy
from trainers.reference import reference_scores
from trainers.reference_config import SelfReference


def scored_for(
    config: RunConfig,
    policy: Policy,
    splits: Mapping[str, Sequence[TokenisedPair]],
    cache_dir: Path,
    heed: Callable[[], None] = lambda: None,
    world: World = ALONE,
) -> dict[str, Scores]:
    """{"train": pairs, "heldout": pairs} -> scores of those splits that the method or the evaluation compares with.

    Held-out pairs are always compared; of splits that are not given nothing is scored. Raises
    what `trainers.reference.reference_scores` does, and takes what it does.
    """
    method = METHODS[config.method.name]
    kind = method.reference
    # Of prompts the answers are yet to be made.
    compares_train = kind == "fixed" and method.data_format != "prompts"
    compared = {name: pairs for name, pairs in splits.items() if name != "train" or compares_train}
    scores = reference_scores(config, policy, compared, cache_dir, heed, world)
    if kind == "unconditional" and "train" in splits:
        start = config.model_copy(update={"reference": SelfReference(kind="self")})
        alone = {"train": [_without_prompt(pair, policy) for pair in splits["train"]]}
        scores |= reference_scores(start, policy, alone, cache_dir, heed, world)
    return scores


def _without_prompt(pair: TokenisedPair, policy: Policy) -> TokenisedPair:
    """The answers after the token that a text begins with, as the policy's tokenizer has it."""
    tokenizer = policy.tokenizer
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return TokenisedPair([int(start)], pair.chosen_ids, pair.rejected_ids, pair.truncated)
