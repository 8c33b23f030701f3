"""Instruction back-translation (Humpback): prompts are written for texts that have none, and the best kept; 2308.06259.

    seed pairs (x, y) ─▶ backward model y -> x ─▶ prompts x' for unlabelled texts y'
                      └▶ policy M0 ─▶ scores (x', y') ─▶ the best and the seed ─▶ M1 ─▶ scores ─▶ ... ─▶ the run's

Of the training pairs, the chosen answers are the texts; a share of them, the seed, keeps its prompt. Every model begins
at the policy's start. The paper's policy marks a pair from 1 to 5 when it is asked to; small ones cannot, so the score
is log π(y'|x') a token here, how well the policy explains the text by the prompt, or that of a reward model.
"""

import random
from collections.abc import Sequence
from functools import partial

from trainers.config import RunConfig
from trainers.data import TokenisedPair
from trainers.method_config import SFT, Backtranslation
from trainers.reward_model import load_reward
from trainers.rounds import heeding_alone, sampler
from trainers.samples import Asked, Group, Sample, unlabelled
from trainers.stage import Maker, Materials, Stage


def stages(materials: Materials) -> list[Maker]:
    """The backward model, the policy on the seed alone, and one for each iteration, all by likelihood, -log π(y|x).

    Seed pairs (x, y) teach a backward model y → x, which writes prompts x' for the other texts y'. The policy of the
    iteration before scores (x', y'); the best share, `keep`, and the seed train the next one from the start. The score
    is log π(y'|x') a token, or a reward model's: the paper asks its policy for a mark from 1 to 5, which small ones
    cannot give.
    """
    method = materials.config.method
    assert isinstance(method, Backtranslation)
    seed, texts = split(materials.pairs, method.seed_share, materials.config.seed)
    plain = materials.config.model_copy(update={"method": SFT(name="sft")})
    end = int(materials.policy.tokenizer.eos_token_id)
    return [
        lambda: Stage(plain, [backward(pair, end) for pair in seed], afresh=True),
        partial(_on_the_seed, materials, plain, seed, texts),
        *[partial(_iteration, materials, method, plain, seed, texts) for _ in range(method.iterations)],
    ]


def split(
    pairs: Sequence[TokenisedPair], seed_share: float, seed: int
) -> tuple[list[TokenisedPair], list[TokenisedPair]]:
    """Seed pairs, and those whose chosen answer is to count as a text without a prompt; each at least one of two."""
    order = list(range(len(pairs)))
    random.Random(f"seed {seed}").shuffle(order)  # noqa: S311 - no secret
    count = max(1, min(len(pairs) - 1, round(seed_share * len(pairs))))
    return [pairs[index] for index in sorted(order[:count])], [pairs[index] for index in sorted(order[count:])]


def backward(pair: TokenisedPair, end: int) -> TokenisedPair:
    """The answer as the prompt, and the prompt, ended, as the answer: prompts are sampled from what learns this."""
    asked = [*pair.prompt_ids, end]
    return TokenisedPair(list(pair.chosen_ids), asked, asked, pair.truncated)


def _on_the_seed(
    materials: Materials, plain: RunConfig, seed: Sequence[TokenisedPair], texts: Sequence[TokenisedPair]
) -> Stage:
    """Its turn comes when the policy is the backward model: before it goes, it writes the prompts."""
    _written(materials, texts)
    return Stage(plain, seed, afresh=True)


def _written(materials: Materials, texts: Sequence[TokenisedPair]) -> list[Group]:
    """One prompt for each text; those on disk once they are all made."""
    materials.begin("sampling")
    asked = {number: Asked(pair.chosen_ids, "") for number, pair in enumerate(texts)}
    return sampler(materials).groups("instructions", asked, 1, unlabelled)


def _iteration(
    materials: Materials,
    method: Backtranslation,
    plain: RunConfig,
    seed: Sequence[TokenisedPair],
    texts: Sequence[TokenisedPair],
) -> Stage:
    candidates = [
        made
        for group, pair in zip(_written(materials, texts), texts, strict=True)
        if (made := _candidate(group.answers[0], pair, materials.config.training.max_length)) is not None
    ]
    materials.begin("scoring")
    scores = _scores(materials, method, candidates)
    kept = best(scores, method.keep)
    chosen = [candidates[index] for index in kept]
    mean = sum(scores) / max(1, len(scores))
    return Stage(
        plain,
        [*seed, *chosen],
        afresh=True,
        metrics={
            "train/score_mean": mean,
            "train/kept_score_mean": sum(scores[index] for index in kept) / max(1, len(kept)),
            "train/kept": float(len(kept)),
        },
    )


def _candidate(written: Sample, text: TokenisedPair, max_length: int) -> TokenisedPair | None:
    """The text with its written prompt; None where the prompt is empty, never ended, or leaves no room for the text."""
    prompt = list(written.ids[:-1]) if written.ended else []
    if not prompt or len(prompt) + len(text.chosen_ids) > max_length:
        return None
    return TokenisedPair(prompt, list(text.chosen_ids), list(text.chosen_ids), truncated=False)


def _scores(materials: Materials, method: Backtranslation, candidates: Sequence[TokenisedPair]) -> list[float]:
    if method.score == "likelihood":
        found = materials.score(candidates)
        per_token: list[float] = (found.chosen_logps / found.chosen_tokens).tolist()
        return per_token
    assert method.reward_model is not None
    reward = load_reward(method.reward_model, materials.policy, materials.cache_dir, method.sampling_batch)
    decode = materials.policy.tokenizer.decode
    asked = [
        Asked(pair.prompt_ids, str(decode(list(pair.prompt_ids), skip_special_tokens=True))) for pair in candidates
    ]
    texts = [
        Sample(pair.chosen_ids, str(decode(list(pair.chosen_ids), skip_special_tokens=True)), 0.0, ended=True)
        for pair in candidates
    ]
    return reward.rate(asked, texts, heeding_alone(materials))


def best(scores: Sequence[float], share: float) -> list[int]:
    """Places of the largest scores, a share of all, one at least where there is one; in their own order."""
    count = min(len(scores), max(1, round(share * len(scores))))
    ranked = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    return sorted(ranked[:count])
