"""Bytes that a step of training takes for a while: activations, logits, copies of weights, what is dequantised.

What is kept for the backward pass is counted tensor by tensor, as transformers 5.23, peft 0.21 and torch 2.13 keep it;
`tests/trainers/test_activations.py` holds the counts against what autograd keeps on small models. In the formulas, for
each token of a layer: h hidden units, d units of all heads together, i of the feed-forward part, b bytes of what is
computed in (2 in bf16 and fp16, 4 in fp32). The method of counting is that of arXiv:2205.05198, section 4.
"""

from dataclasses import dataclass

from trainers.parameters import Linear, Shape

# TRL's head projects so many tokens to so many words at a time (trl 1.16, kernels/chunked_logprob.py).
TILE_TOKENS, TILE_WORDS = 4096, 32768


@dataclass(frozen=True)
class Step:
    """What goes through the model at once: so many sequences of so many tokens, and how.

    `compute` is bytes of what matrices are multiplied in, `stream` of what flows from layer to layer (the weights' own
    dtype). `eager` and `flash` are kinds of attention, sdpa being neither. `adapted` names the linear layers with
    adapters of rank `rank`; none means that all weights are trained.
    """

    sequences: int
    tokens: int
    compute: int
    stream: int
    gpu: bool
    attention: str
    adapted: frozenset[str]
    rank: int = 0
    dora: bool = False
    quantised: bool = False
    checkpointing: bool = False
    # Whether matrices are multiplied in another precision than weights have (autocast).
    mixed: bool = False

    @property
    def all_tokens(self) -> int:
        """Of all sequences, padding included."""
        return self.sequences * self.tokens


def stored(shape: Shape, step: Step) -> int:
    """Bytes that are left for the backward pass when the layers have been gone through.

    With checkpointing each layer leaves its input alone.
    """
    one = shape.hidden * step.stream if step.checkpointing else _layer_bytes_a_token(shape, step)
    # The last norm's input, in fp32 and as it is.
    ends = shape.hidden * (4 + step.stream)
    return int(step.all_tokens * (shape.layers * one + ends))


def passing(shape: Shape, step: Step) -> int:
    """What the layer that is differentiated takes besides; with checkpointing its activations, computed again."""
    a_token, more = _passing_bytes_a_token(shape, step), unpacked(shape, step)
    if step.checkpointing:
        a_token += _layer_bytes_a_token(shape, step)
        more += _layer_copies(shape, step)
    return int(step.all_tokens * a_token + more)


def copied_weights(shape: Shape, step: Step, *, head: bool) -> int:
    """Bytes of the copies of trained weights that autocast makes, and keeps until a forward pass is over.

    They stay for the backward pass, but with checkpointing, which makes them anew layer by layer. Without gradients
    they are kept from one pass to the next. `head`: whether all logits are made, by a copy of the head, or tiles of
    them by TRL's own.
    """
    cast = head and not step.adapted and step.mixed and step.stream > step.compute
    return shape.layers * _layer_copies(shape, step) + (shape.vocab * shape.hidden * step.compute if cast else 0)


def _layer_copies(shape: Shape, step: Step) -> int:
    """Adapters are kept in fp32; of other weights those that are wider than the arithmetic."""
    if not step.mixed:
        return 0
    if step.adapted:
        size = sum(step.rank * (one.inputs + one.outputs) for one in shape.linears if one.name in step.adapted)
    else:
        size = shape.linear if step.stream > step.compute else 0
    return size * step.compute


def tiled_logits(shape: Shape, scored: int, step: Step) -> int:
    """Of TRL's own head, which never makes all logits: a tile of them, and gradients of hidden states and head.

    `scored` tokens are those with a label; the whole batch is projected where there is no GPU.
    """
    tokens = scored if step.gpu else step.all_tokens
    hidden = tokens * shape.hidden * (4 + 2 * step.compute)
    # Where the head is trained, its gradient in fp32.
    return tile(shape, scored, step) + int(hidden) + (0 if step.adapted else shape.vocab * shape.hidden * 4)


def tile(shape: Shape, scored: int, step: Step) -> int:
    """Of the same head on the way forward: a tile of logits, and a slice of the head in the dtype of the arithmetic."""
    tokens = scored if step.gpu else step.all_tokens
    words = TILE_WORDS if step.gpu else min(TILE_WORDS, shape.vocab)
    # Without a GPU's kernel some seven tiles in fp32 stand beside it.
    one = min(tokens, TILE_TOKENS) * (TILE_WORDS * step.compute + (0 if step.gpu else words * 28))
    return int(one + words * shape.hidden * step.compute)


def _layer_bytes_a_token(shape: Shape, step: Step) -> float:
    """What one layer keeps for the backward pass, for each of its tokens."""
    hidden = shape.hidden
    queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
    norms = 2 * (_norm_bytes(shape, step) * hidden + 4)
    return norms + _attention(shape, step, queries, keys) + _inputs(shape, step) + _feed_forward(shape, step)


def _norm_bytes(shape: Shape, step: Step) -> int:
    """An RMS norm keeps its input in fp32, and its output where weights are trained; a LayerNorm its input alone."""
    if shape.layer_norm:
        return 4 if step.gpu and step.mixed else step.stream
    return 4 if step.adapted else 8


def _attention(shape: Shape, step: Step, queries: int, keys: int) -> float:
    """Queries, keys, values and answers; where sequences are padded, keys and values are repeated for all heads."""
    b = step.compute
    padded = step.sequences > 1 and step.attention != "flash_attention_2"
    read = 2 * queries if padded else 2 * keys
    # The softmax's sums, and the mask of one row, which is kept for each layer.
    if step.attention != "eager":
        return (2 * queries + read) * b + 4 * shape.heads + (step.tokens * b if padded else 0)
    # All scores, in fp32 and, where that is another dtype, as they are; the answers are kept by who reads them.
    answers = 0 if step.adapted and step.mixed else queries
    return (queries + 2 * queries + answers) * b + shape.heads * step.tokens * (4 + (b if b < 4 else 0))


def _inputs(shape: Shape, step: Step) -> float:
    """The inputs of linear layers.

    An adapter keeps its own copy of its input in mixed precision, and what comes out of its first matrix; DoRA keeps
    two outputs besides. Weights that are trained keep their input once.
    """
    b = step.compute
    if not step.adapted:
        # Autocast casts the input anew for each matrix; attention's answer is counted there.
        copies = sum(_reads_hidden(shape, linear) for linear in shape.linears)
        return b * (shape.hidden * (copies if step.mixed else 2) + shape.inner)
    adapted = [linear for linear in shape.linears if linear.name in step.adapted]
    if step.mixed:
        inputs = sum(linear.inputs for linear in adapted)
    else:
        # One input serves all that read it: queries, keys and values; gate and up.
        read = {_source(shape, linear): linear.inputs for linear in adapted}
        inputs = sum(size for source, size in read.items() if source != "attention")
    outputs = 2 * sum(linear.outputs for linear in adapted) if step.dora else 0
    return b * (inputs + step.rank * len(adapted) + outputs)


def _reads_hidden(shape: Shape, linear: Linear) -> bool:
    return _source(shape, linear) in ("norm 1", "norm 2")


def _source(shape: Shape, linear: Linear) -> str:
    """What a linear layer reads."""
    names = [other.name for other in shape.linears]
    place, feed_forward = names.index(linear.name), 3 if "gate_proj" in names else 2
    first = len(names) - feed_forward
    if place == len(names) - 1:
        return "feed-forward"
    if place >= first:
        return "norm 2"
    return "attention" if place == first - 1 else "norm 1"


def _feed_forward(shape: Shape, step: Step) -> int:
    """The gate before and after its function, and what it is multiplied with; without a gate, what the function reads.

    What comes out of relu is what it keeps, and the next matrix' input.
    """
    if shape.gated:
        return 3 * shape.inner * step.compute
    return shape.inner * step.compute if not shape.relu or (step.adapted and step.mixed) else 0


def _passing_bytes_a_token(shape: Shape, step: Step) -> float:
    """Gradients inside the layer that is differentiated: of the feed-forward part, and of its input in fp32."""
    widest = (3 if shape.gated else 2) * shape.inner * step.compute
    # An adapter turns its input to fp32 first.
    own = 4 * shape.inner if step.adapted and step.mixed else 0
    return widest + 2 * 4 * shape.hidden + own


def unpacked(shape: Shape, step: Step) -> float:
    """One matrix as it is multiplied, where it is frozen and stored otherwise: in 4 bits, or wider than the arithmetic.

    For DoRA also a square matrix to the side of its input, and the sum of both weights.
    """
    largest = max(shape.linears, key=lambda linear: linear.size)
    cast = step.mixed and bool(step.adapted) and step.stream > step.compute
    packed = largest.size * step.compute if step.quantised or cast else 0
    if not step.dora:
        return packed
    widest = max((linear for linear in shape.linears if linear.name in step.adapted), key=lambda linear: linear.inputs)
    return packed + widest.inputs**2 * (4 + (step.compute if step.mixed else 0)) + 3 * 4 * widest.size
