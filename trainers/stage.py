"""What training is made of: one stage, or several of which each goes on from where the last one ended."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainers.config import RunConfig
from trainers.data import TokenisedPair
from trainers.distributed import World
from trainers.evaluation.scorer import Scores
from trainers.models import Policy
from trainers.samples import Asked
from trainers.spec import RunFolder
from trainers.weighed_trainer import WeighedAnswer


@dataclass(frozen=True)
class Stage:
    """Pairs, or answers, that are trained on together, and the run's config for them.

    A method that makes its own data trains a stage with another one: the config then has that method's section. A stage
    of nothing is left out.
    """

    config: RunConfig
    pairs: Sequence[TokenisedPair] = ()
    # The reference's scores of the pairs, for a method that needs them.
    reference: Scores | None = None
    answers: Sequence[WeighedAnswer] = ()
    # Whether it begins at the policy's start instead of where the last stage ended.
    afresh: bool = False
    # Told of before it is trained, such as the mean reward of the samples it is made of.
    metrics: Mapping[str, float] = field(default_factory=dict)
    # Why there is nothing to train on, for a run in which no stage has something.
    nothing: str = ""

    @property
    def size(self) -> int:
        """In pairs: two answers count as one."""
        return len(self.pairs) or (len(self.answers) + 1) // 2


# Makes a stage when its turn has come, the policy being where the stage before it ended.
Maker = Callable[[], Stage]


@dataclass(frozen=True)
class Materials:
    """What stages are made of. `prompts` are those of the training pairs, each once."""

    config: RunConfig
    policy: Policy
    pairs: Sequence[TokenisedPair]
    prompts: Sequence[Asked]
    # The reference's scores of `pairs`, where it has some.
    reference: Scores | None
    # What the policy says of pairs, as it is now; and what the run's reference says of them.
    score: Callable[[Sequence[TokenisedPair]], Scores]
    score_reference: Callable[[Sequence[TokenisedPair]], Scores]
    folder: RunFolder
    cache_dir: Path
    # Tells of a new phase; raises Stopped where the run is asked to stop instead, as `heed` does.
    begin: Callable[[str], None]
    heed: Callable[[], None]
    world: World
