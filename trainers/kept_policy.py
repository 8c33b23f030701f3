"""A policy that a run has kept, its last one or a checkpoint, put in the place of the one that the run began with.

restored(load_policy(config, cache_dir), config, RunFolder(...), "checkpoint-40", cache_dir) -> as it was after 40 steps
"""

from pathlib import Path

from peft import load_peft_weights, set_peft_model_state_dict

from trainers.config import RunConfig
from trainers.errors import InvalidInput
from trainers.models import Policy, load_base
from trainers.reference_models import give_back_memory
from trainers.spec import FINAL, RunFolder
from trainers.stacked import StackedPolicy
from trainers.weights_folders import is_adapter, is_model


def weights_of(folder: RunFolder, policy: str) -> Path:
    """Where one of the run's policies lies, an adapter or a model. Raises InvalidInput where it does not."""
    places = [folder.adapter, folder.model] if policy == FINAL else [folder.checkpoints / policy]
    found = next((place for place in places if is_adapter(place) or is_model(place)), None)
    if found is None:
        raise InvalidInput([f"{' and '.join(map(str, places))}: there are no weights (any more)"])
    return found


def restored(policy: Policy, config: RunConfig, folder: RunFolder, name: str, cache_dir: Path) -> Policy:
    """`policy` is as `load_policy` gives it, and not to be used again.

    Numbers are those of the run itself: weights go where they were in training, an adapter in 32 bits on a base that is
    loaded as it was, and nothing is merged. Raises InvalidInput where the weights are gone or another run's, OSError
    where they cannot be read.
    """
    place = weights_of(folder, name)
    if config.peft.kind == "none":
        return _whole(policy, config, place, cache_dir)
    if not is_adapter(place):
        raise InvalidInput([f"{place} holds a whole model, and the run trains an adapter"])
    model = policy.model
    if isinstance(model, StackedPolicy):
        # A checkpoint has the adapter in training by itself as well.
        model.load_together(place) if name == FINAL else model.load_trained(place)
        return policy
    device = next(model.parameters()).device
    loaded = set_peft_model_state_dict(model, load_peft_weights(str(place), device=str(device)))
    if loaded.unexpected_keys:
        raise InvalidInput([f"{place} does not fit the policy, which has no place for {loaded.unexpected_keys[0]}"])
    return policy


def _whole(policy: Policy, config: RunConfig, place: Path, cache_dir: Path) -> Policy:
    """All weights were trained: they come in the place of those that training began with."""
    if not is_model(place):
        raise InvalidInput([f"{place} holds an adapter, and the run trains all weights"])
    tokenizer, precision, task = policy.tokenizer, policy.precision, policy.task
    # Never two of them at a time.
    policy.model.to("meta")
    give_back_memory()
    return Policy(load_base(config, str(place), None, cache_dir, task), tokenizer, precision, task)
