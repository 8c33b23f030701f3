"""Bytes that a forward pass without gradients takes for a while: of scoring, of rating, of sampling answers.

Copies of weights that autocast makes come to them: `trainers.activations.copied_weights`.

8 prompts that with 256 new tokens fill 1024, on Mistral 7B in bf16 -> 1.00 GiB of keys and values when the last token
is drawn. `tests/trainers/test_passes.py` holds the counts against what torch's allocator gives out for small models.
"""

from trainers.activations import Step, unpacked
from trainers.parameters import Shape

# Of `trainers.evaluation.scorer`: logits of a forward pass, and of a slice in fp32.
SCORED_LOGITS, SLICE_LOGITS = 2**28, 2**24


def scoring(shape: Shape, step: Step) -> int:
    """Of a forward pass of `trainers.evaluation.scorer` without gradients: one layer's activations, then its logits.

    The scorer puts fewer sequences into a pass where their answers' logits would be too many; answers are taken for
    half of the tokens.
    """
    tokens = max(step.tokens, min(step.all_tokens, 2 * SCORED_LOGITS // shape.vocab))
    logits = min(tokens * shape.vocab, SCORED_LOGITS) * step.compute
    # A slice of them as it is, in fp32, and what its sum of exponentials takes.
    slices = min(tokens * shape.vocab, SLICE_LOGITS) * (8 + (step.compute if step.compute < 4 else 0))
    own = tokens * shape.hidden * step.stream
    return max(forward(shape, step, tokens), int(own + logits + slices))


def comparing(shape: Shape, step: Step, models: int) -> int:
    """Of a pass of `trainers.evaluation.compare`, in which so many models say something of the same tokens.

    All have their logits at the same time, a quarter each of those of the scorer; answers are taken for half of the
    tokens. Of a slice, half as large, there are each model's log-probabilities and four copies, in fp32.
    """
    most = SCORED_LOGITS // 4
    tokens = max(step.tokens, min(step.all_tokens, 2 * most // shape.vocab))
    logits = min(tokens * shape.vocab, most) * step.compute
    slices = min(tokens * shape.vocab, SLICE_LOGITS // 2) * 4 * (models + 4)
    own = tokens * shape.hidden * step.stream
    return max(forward(shape, step, tokens) + (models - 1) * logits, int(own + models * logits + slices))


def rating(shape: Shape, step: Step) -> tuple[int, int]:
    """(keys and values, what passes besides) of a classifier, which keeps all layers': nobody tells it not to."""
    return cached(shape, step, step.tokens), forward(shape, step, step.all_tokens)


def cached(shape: Shape, step: Step, tokens: int) -> int:
    """Keys and values of all layers, for `tokens` of each sequence.

    Keys that are turned by their position are so in the dtype of what flows from layer to layer, where that is the
    wider one, and transformers keeps values as it keeps keys.
    """
    each = max(step.stream, step.compute) if shape.turned else step.compute
    return 2 * step.sequences * tokens * shape.layers * shape.kv_heads * shape.head * each


def sampling(shape: Shape, step: Step, prompt: int) -> tuple[int, int]:
    """(keys and values, what passes besides) of sampling answers, which with prompts of so many tokens fill the step.

    The cache is largest at the end, when a layer's keys are copied to get one token more, and scores are drawn from:
    fp32, as probabilities in fp64, cumulated in fp64. What passes is largest at the beginning, when all prompts go
    through.
    """
    first = cached(shape, step, prompt), forward(shape, step, step.sequences * prompt)
    copied = cached(shape, step, step.tokens) // (2 * shape.layers)
    last = cached(shape, step, step.tokens), copied + step.sequences * shape.vocab * 24
    return max(first, last, key=sum)


def forward(shape: Shape, step: Step, tokens: int) -> int:
    """One layer without gradients: hidden units four times; the feed-forward part, or attention's scores in full."""
    hidden = 4 * shape.hidden * step.stream
    wide = (3 if shape.gated else 2) * shape.inner * step.compute
    if step.adapted:
        # What an adapter adds, and its input in fp32.
        wide += shape.inner * step.compute + (4 if step.mixed else step.compute) * shape.hidden
    queries = shape.heads * shape.head
    scores = 10 * shape.heads * step.tokens + 5 * queries * step.compute if step.attention == "eager" else 0
    padded = step.sequences > 1 and step.attention != "flash_attention_2"
    mask = step.tokens * (1 + step.compute) if padded else 0
    return int(tokens * (hidden + max(wide, scores) + mask) + unpacked(shape, step))
