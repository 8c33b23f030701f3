"""The schema of `evaluation=`: what is measured of a policy, when, beside whom, and who rates it."""

from typing import Annotated

from pydantic import Field

from trainers.method_config import Judge
from trainers.sections import Count, Section


class Degenerate(Section):
    """Bounds beyond which a policy counts as degenerate; null leaves one out."""

    repetition: Annotated[float, Field(ge=0, le=1)] | None = None
    ended: Annotated[float, Field(ge=0, le=1)] | None = None
    kl_per_token: Annotated[float, Field(ge=0)] | None = None
    empty: Annotated[float, Field(ge=0, le=1)] | None = None


# As `evaluation.opponent`: what the policy started from.
START = "start"
# Without an endpoint, nobody is asked; for the records of runs that know nothing of it.
_NO_JUDGE = Judge(
    base_url=None,
    model=None,
    key_variable="OPENAI_API_KEY",
    timeout_s=60.0,
    tries=6,
    concurrency=4,
    price_in=0.0,
    price_out=0.0,
)


class LMEval(Section):
    """Tasks of lm-evaluation-harness, which are put to the policy at the end; none leaves it out."""

    tasks: list[str] = Field(default_factory=list)
    # A folder of task files of the user's own.
    include_path: str | None = None
    num_fewshot: Annotated[int, Field(ge=0)] | None = None
    # Questions a task, or a share of them.
    limit: Count | Annotated[float, Field(gt=0, lt=1)] | None = None
    batch_size: Count = 8
    apply_chat_template: bool = False


class AlpacaEval(Section):
    """The policy's answers as alpaca_eval reads them, and its judgement of them."""

    export: bool = False
    # Files in its format; without them the held-out prompts, and what the policy started from.
    prompts: str | None = None
    reference: str | None = None
    # A folder or file of an annotator, or the name of one of its own; without it nobody judges.
    annotators_config: str | None = None

    @property
    def on(self) -> bool:
        """Whether any of it is asked for."""
        return self.export or any((self.prompts, self.reference, self.annotators_config))


class Evaluation(Section):
    every: Annotated[int, Field(ge=0)]
    batch_size: Count
    # 0 for the records of runs that know nothing of it; so are the values below.
    samples: Annotated[int, Field(ge=0)] = 0
    samples_every: Annotated[int, Field(ge=0)] = 0
    sampling_batch: Count = 16
    max_new_tokens: Count = 256
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    degenerate: Degenerate = Degenerate()
    reward_model: str | None = None
    opponent: str = START
    judge: Judge = _NO_JUDGE
    lm_eval: LMEval = LMEval()
    alpaca_eval: AlpacaEval = AlpacaEval()
