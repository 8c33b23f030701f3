"""The losses as pure functions: numbers worked by hand, gradients against finite differences, symmetries, extremes.

By hand all is in units of L = log 2. The chosen answer has two tokens, of probability 1/2 and 1/8, after a prompt whose
two tokens the policy gives 1/2 each; the rejected one has three, of 1/2, 1/16 and 1/16:

    log π(w) = -4L   log π_ref(w) = -5L   h(w) = 1L    a token: -2L, h  1/2 L    its text: -6L over four tokens
    log π(l) = -9L   log π_ref(l) = -6L   h(l) = -3L   a token: -3L, h -1 L

and -log sigmoid(nL) = log(1 + 2^-n).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor

from trainers import losses
from trainers.losses import Answers

L = math.log(2)
PairLoss = Callable[[Answers, Answers], Tensor]


def answers(
    rows: Sequence[Sequence[float]],
    ref: Sequence[float],
    prompts: Sequence[Sequence[float]] = ((),),
    dtype: torch.dtype = torch.float64,
) -> Answers:
    """Log-probabilities of the answers' tokens, of the reference, and of the prompts' tokens."""
    width = max(map(len, rows)) + 1
    tokens = torch.tensor([[*row, *[0.0] * (width - len(row))] for row in rows], dtype=dtype)
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    texts = [[*prompt, *row] for prompt, row in zip(prompts, rows, strict=True)]
    return Answers(
        tokens,
        mask,
        torch.tensor(ref, dtype=dtype),
        torch.tensor([sum(text) for text in texts], dtype=dtype),
        torch.tensor([len(text) for text in texts]),
    )


CHOSEN = answers([[-L, -3 * L]], [-5 * L], [[-L, -L]])
REJECTED = answers([[-L, -4 * L, -4 * L]], [-6 * L], [[-L, -L]])
# The chosen answer where the reference likes it more than the policy does: h(w) = -L.
FALLEN = answers([[-L, -3 * L]], [-3 * L], [[-L, -L]])


def case(loss: PairLoss, expected: float, name: str) -> object:
    return pytest.param(loss, expected, id=name)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # h(w) - h(l) = 4L
        case(partial(losses.dpo, beta=1.0), math.log(17 / 16), "dpo-1"),
        case(partial(losses.dpo, beta=0.5), math.log(5 / 4), "dpo-0.5"),
        # h a token: 1/2 + 1 = 3/2 L
        case(partial(losses.dpo, beta=2.0, length_normalised=True), math.log(9 / 8), "dpo-length"),
        # NLL a token: 2L
        case(partial(losses.dpo, beta=0.5, sft_weight=0.25), math.log(5 / 4) + L / 2, "dpo-sft"),
        # t = 2 and 1/8: 1 - 1/t is 1/2 and -7
        case(partial(losses.dpo, beta=1.0, f_divergence="forward_kl"), math.log1p(math.exp(-7.5)), "dpo-forward"),
        # log 2t/(1+t): log 4/3 and log 2/9, log 6 apart
        case(partial(losses.dpo, beta=1.0, f_divergence="js"), math.log(7 / 6), "dpo-js"),
        # alpha = 1/2: 2 (1 - 1/sqrt t): 3 sqrt 2 apart
        case(
            partial(losses.dpo, beta=1.0, f_divergence="alpha", f_alpha=0.5),
            math.log1p(math.exp(-3 * math.sqrt(2))),
            "dpo-alpha-0.5",
        ),
        # alpha = 2: t - 1: 15/8 apart
        case(
            partial(losses.dpo, beta=1.0, f_divergence="alpha", f_alpha=2.0),
            math.log1p(math.exp(-15 / 8)),
            "dpo-alpha-2",
        ),
        # sigmoid(2L) = 4/5
        case(partial(losses.cdpo, beta=0.5, epsilon=0.1), 0.9 * math.log(5 / 4) + 0.1 * math.log(5), "cdpo"),
        case(partial(losses.robust, beta=0.5, epsilon=0.1), 1.125 * math.log(5 / 4) - 0.125 * math.log(5), "robust"),
        # 1/(2τ) = 1
        case(partial(losses.ipo, tau=0.5), (1.5 * L - 1) ** 2, "ipo"),
        case(partial(losses.ipo, tau=0.5, per_token=False), (4 * L - 1) ** 2, "ipo-sum"),
        case(partial(losses.hinge, beta=0.25), 1 - L, "hinge"),
        # 4L = 2.77 is beyond the hinge
        case(partial(losses.hinge, beta=1.0), 0.0, "hinge-over"),
        # h(w) > 0: as dpo
        case(partial(losses.dpop, beta=1.0, penalty=50.0), math.log(17 / 16), "dpop"),
        # -h(l) = 3L
        case(partial(losses.npo, beta=1.0, retain_weight=0.0), 2 * math.log(9 / 8), "npo-1"),
        case(partial(losses.npo, beta=1 / 3, retain_weight=0.5), 6 * math.log(3 / 2) + L, "npo-retain"),
        case(partial(losses.ulma, beta=1.0), 4 * L + math.log(9 / 8), "ulma"),
        # softmax is (4/5, 1/5)
        case(partial(losses.exo, beta=0.5, epsilon=0.2), 0.0, "exo-there"),
        case(partial(losses.exo, beta=0.5, epsilon=0.1), 0.8 * math.log(8 / 9) + 0.2 * math.log(2), "exo"),
        # sigmoid(L) = 2/3, sigmoid(-L) = 1/3, sigmoid(3L) = 8/9
        case(partial(losses.nca, beta=1.0), math.log(3 / 2) + math.log(3) / 2 + math.log(9 / 8) / 2, "nca"),
        case(partial(losses.sppo, beta=1.0), (L - 0.5) ** 2 + (0.5 - 3 * L) ** 2, "sppo"),
        case(partial(losses.apo, beta=1.0, variant="zero"), 1 / 3 + 1 / 9, "apo-zero"),
        case(partial(losses.apo, beta=1.0, variant="down"), 2 / 3 + 1 / 17, "apo-down"),
        case(partial(losses.likelihood, beta=0.5), math.log(5 / 4), "likelihood"),
        # log π(w) - log π(l) = 5L
        case(partial(losses.posterior, beta=0.4), math.log(5 / 4), "posterior"),
        case(partial(losses.cpo, beta=0.4, nll_weight=0.5), math.log(5 / 4) + L, "cpo"),
        # odds of 1/4 and 1/8: 1/3 and 1/7; the text costs 6L over four tokens
        case(partial(losses.orpo, lambda_=0.5), 1.5 * L + 0.5 * math.log(10 / 7), "orpo"),
        # a token: L apart; 3L - L = 2L
        case(partial(losses.simpo, beta=3.0, gamma=L), math.log(5 / 4), "simpo"),
        # 1 - 1/2, 1 - 1/16 twice
        case(partial(losses.unlikelihood, alpha=0.5), 2 * L + (L + 2 * math.log(16 / 15)) / 6, "unlikelihood"),
    ],
)
def test_a_loss_is_its_papers_formula(loss: PairLoss, expected: float) -> None:
    assert loss(CHOSEN, REJECTED).tolist() == pytest.approx([expected], abs=1e-12)


@pytest.mark.parametrize(("alpha", "divergence"), [(0.0, "forward_kl"), (1.0, "reverse_kl"), (1 + 1e-9, "reverse_kl")])
def test_the_alpha_divergence_lies_between_the_two_kls(alpha: float, divergence: losses.Divergence) -> None:
    found = losses.dpo(CHOSEN, REJECTED, beta=0.7, f_divergence="alpha", f_alpha=alpha)
    assert found.item() == pytest.approx(
        losses.dpo(CHOSEN, REJECTED, beta=0.7, f_divergence=divergence).item(), abs=1e-7
    )


@pytest.mark.parametrize(("penalty", "expected"), [(0.0, math.log(5 / 4)), (1.0, math.log(3 / 2)), (3.0, math.log(3))])
def test_dpop_pays_for_a_chosen_answer_that_falls_below_the_reference(penalty: float, expected: float) -> None:
    """h(w) - h(l) = 2L, less λ times L: 2L, L and -L are left."""
    assert losses.dpop(FALLEN, REJECTED, beta=1.0, penalty=penalty).item() == pytest.approx(expected, abs=1e-12)


def test_kto_measures_desirable_and_undesirable_answers_from_its_point_of_comparison() -> None:
    """z₀ = L: h - z₀ is 0, -4L and 0: 2 (1 - 1/2), 1 - sigmoid(4L) = 1/17, 1 - 1/2."""
    logratios = torch.tensor([L, -3 * L, L], dtype=torch.float64)
    found = losses.kto(logratios, torch.tensor([True, False, False]), torch.tensor(L), 1.0, 2.0, 1.0)
    assert found.tolist() == pytest.approx([1.0, 1 / 17, 1 / 2], abs=1e-7)


def test_a_batch_has_the_losses_of_its_pairs() -> None:
    """Of unlike lengths: the second pair is the first with its answers swapped."""
    chosen = answers([[-L, -3 * L], [-L, -4 * L, -4 * L]], [-5 * L, -6 * L], [[-L, -L]] * 2)
    rejected = answers([[-L, -4 * L, -4 * L], [-L, -3 * L]], [-6 * L, -5 * L], [[-L, -L]] * 2)
    for loss in ALL.values():
        alone = [loss(CHOSEN, REJECTED).item(), loss(REJECTED, CHOSEN).item()]
        assert loss(chosen, rejected).tolist() == pytest.approx(alone, abs=1e-12)


ALL: dict[str, PairLoss] = {
    "dpo": partial(losses.dpo, beta=0.3),
    "dpo-forward": partial(losses.dpo, beta=0.3, f_divergence="forward_kl"),
    "dpo-js": partial(losses.dpo, beta=0.3, f_divergence="js"),
    "dpo-alpha": partial(losses.dpo, beta=0.3, f_divergence="alpha", f_alpha=0.3),
    "dpo-length": partial(losses.dpo, beta=3.0, length_normalised=True, sft_weight=0.7),
    "cdpo": partial(losses.cdpo, beta=0.3, epsilon=0.2),
    "robust": partial(losses.robust, beta=0.3, epsilon=0.2),
    "ipo": partial(losses.ipo, tau=0.3),
    "ipo-sum": partial(losses.ipo, tau=0.3, per_token=False),
    "hinge": partial(losses.hinge, beta=0.05),
    "dpop": partial(losses.dpop, beta=0.3, penalty=2.0),
    "npo": partial(losses.npo, beta=0.3, retain_weight=0.6),
    "ulma": partial(losses.ulma, beta=0.3),
    "exo": partial(losses.exo, beta=0.3, epsilon=0.01),
    "nca": partial(losses.nca, beta=0.3),
    "sppo": partial(losses.sppo, beta=0.3),
    "apo-zero": partial(losses.apo, beta=0.3, variant="zero"),
    "apo-down": partial(losses.apo, beta=0.3, variant="down"),
    "likelihood": partial(losses.likelihood, beta=0.3),
    "posterior": partial(losses.posterior, beta=0.3),
    "orpo": partial(losses.orpo, lambda_=0.3),
    "cpo": partial(losses.cpo, beta=0.3, nll_weight=0.6),
    "simpo": partial(losses.simpo, beta=2.5, gamma=0.8),
    "unlikelihood": partial(losses.unlikelihood, alpha=0.7),
}
EACH = [pytest.param(loss, id=name) for name, loss in ALL.items()]

# Three pairs of unlike lengths; the reference likes some of the chosen answers less than the policy does, some more.
MASK_W = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]], dtype=torch.bool)
MASK_L = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
REF_W = torch.tensor([-2.1, -4.4, -0.4], dtype=torch.float64)
REF_L = torch.tensor([-3.3, -0.7, -2.9], dtype=torch.float64)


def given(tokens: Tensor, mask: Tensor, ref: Tensor) -> Answers:
    """With two prompt tokens of -0.3 each."""
    tokens = tokens.masked_fill(~mask, 0.0)
    return Answers(tokens, mask, ref.to(tokens), tokens.sum(-1) - 0.6, mask.sum(-1) + 2)


def generic() -> tuple[Tensor, Tensor]:
    """Log-probabilities between -2 and -0.1."""
    made = torch.Generator().manual_seed(3)
    drawn = -0.1 - 1.9 * torch.rand(2, 3, 4, generator=made, dtype=torch.float64)
    return drawn[0].requires_grad_(), drawn[1].requires_grad_()


@pytest.mark.parametrize("loss", EACH)
def test_a_gradient_is_that_of_finite_differences(loss: PairLoss) -> None:
    def of(tokens_w: Tensor, tokens_l: Tensor) -> Tensor:
        return loss(given(tokens_w, MASK_W, REF_W), given(tokens_l, MASK_L, REF_L))

    assert torch.autograd.gradcheck(of, generic(), eps=1e-6, atol=1e-6)


def test_the_generic_answers_lie_on_both_sides_of_dpops_reference() -> None:
    tokens, _ = generic()
    assert set((given(tokens, MASK_W, REF_W).logratios > 0).tolist()) == {True, False}


@pytest.mark.parametrize(("beta", "expected"), [(0.25, -0.25), (1.0, 0.0)])
def test_hinge_has_a_constant_slope_before_its_kink_and_none_after(beta: float, expected: float) -> None:
    tokens = CHOSEN.token_logps.clone().requires_grad_()
    chosen = Answers(tokens, CHOSEN.mask, CHOSEN.ref_logps, CHOSEN.text_logps, CHOSEN.text_tokens)
    losses.hinge(chosen, REJECTED, beta=beta).sum().backward()
    assert tokens.grad is not None
    assert tokens.grad[0, :2].tolist() == [expected] * 2


def test_ktos_gradient_is_that_of_finite_differences_and_none_goes_into_its_point_of_comparison() -> None:
    logratios = torch.tensor([0.4, -1.1, 2.0], dtype=torch.float64, requires_grad=True)
    desirable = torch.tensor([True, False, True])
    kl = torch.tensor(0.3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda h: losses.kto(h, desirable, kl, 0.7, 1.3, 0.6), (logratios,))


def gradients(loss: PairLoss, chosen: Answers, rejected: Answers) -> tuple[Tensor, Tensor]:
    """With respect to log π(w) and log π(l) of each pair, which all of an answer's tokens share."""
    told = []
    for side in (chosen, rejected):
        told.append(side.token_logps.detach().clone().requires_grad_())
    made = [
        Answers(tokens, side.mask, side.ref_logps, side.text_logps, side.text_tokens)
        for tokens, side in zip(told, (chosen, rejected), strict=True)
    ]
    loss(*made).sum().backward()
    assert told[0].grad is not None
    assert told[1].grad is not None
    return told[0].grad[:, 0], told[1].grad[:, 0]


OF_THE_MARGIN = [
    "dpo", "cdpo", "robust", "ipo-sum", "hinge", "exo", "likelihood", "posterior",
]  # fmt: skip


@pytest.mark.parametrize("name", OF_THE_MARGIN)
def test_a_loss_of_the_margin_lowers_the_one_answer_as_much_as_it_lifts_the_other(name: str) -> None:
    lifted, lowered = gradients(ALL[name], CHOSEN, REJECTED)
    assert lifted.item() != 0
    assert lifted.item() == pytest.approx(-lowered.item())


@pytest.mark.parametrize("name", [*OF_THE_MARGIN, "ipo", "simpo"])
def test_swapping_two_answers_that_stand_alike_turns_the_gradient_round(name: str) -> None:
    """Both of log π = -3, and to the reference too, in as many tokens."""
    first, second = answers([[-1.0, -2.0]], [-2.5]), answers([[-2.5, -0.5]], [-2.5])
    on_first, on_second = gradients(ALL[name], first, second)
    swapped_second, swapped_first = gradients(ALL[name], second, first)
    assert swapped_first.item() == pytest.approx(-on_first.item())
    assert swapped_second.item() == pytest.approx(-on_second.item())


@pytest.mark.parametrize("loss", EACH)
def test_padding_on_either_side_changes_neither_loss_nor_gradient(loss: PairLoss) -> None:
    def padded(side: Answers, left: int, right: int) -> Answers:
        pads = (left, right)
        return Answers(
            torch.nn.functional.pad(side.token_logps, pads),
            torch.nn.functional.pad(side.mask, pads),
            side.ref_logps,
            side.text_logps,
            side.text_tokens,
        )

    def at(left: int, right: int) -> tuple[float, list[float]]:
        sides = [padded(side, left, right) for side in (CHOSEN, REJECTED)]
        tokens = [side.token_logps.clone().requires_grad_() for side in sides]
        value = loss(*(
            Answers(own, side.mask, side.ref_logps, side.text_logps, side.text_tokens)
            for own, side in zip(tokens, sides, strict=True)
        )).sum()  # fmt: skip
        value.backward()
        slopes = [own.grad[side.mask] for own, side in zip(tokens, sides, strict=True) if own.grad is not None]
        return value.item(), torch.cat(slopes).tolist()

    value, slopes = at(0, 0)
    for left, right in ((0, 5), (3, 0), (2, 2)):
        other, other_slopes = at(left, right)
        assert other == pytest.approx(value, abs=1e-12)
        assert other_slopes == pytest.approx(slopes, abs=1e-12)


@pytest.mark.parametrize("loss", EACH)
def test_nothing_flows_into_padding(loss: PairLoss) -> None:
    tokens_w, tokens_l = generic()
    loss(given(tokens_w, MASK_W, REF_W), given(tokens_l, MASK_L, REF_L)).sum().backward()
    for tokens, mask in ((tokens_w, MASK_W), (tokens_l, MASK_L)):
        assert tokens.grad is not None
        assert not tokens.grad[~mask].any()


# By their answers' log-probabilities: both impossible, both certain, one of each, equal, the reference far off.
EXTREMES = {
    "impossible": ([[-1e4, -1e4]], [[-1e4]], -3.0, -3.0),
    "certain": ([[0.0, 0.0]], [[0.0]], -3.0, -3.0),
    "certain_to_both": ([[0.0, 0.0]], [[0.0]], 0.0, 0.0),
    "right": ([[0.0, 0.0]], [[-1e4]], -3.0, -3.0),
    "wrong": ([[-1e4]], [[0.0, 0.0]], -3.0, -3.0),
    "equal": ([[-1.0, -2.0]], [[-1.0, -2.0]], -3.0, -3.0),
    "reference_far_off": ([[-1.0]], [[-1.0]], -1e4, -1e4),
    "reference_opposite": ([[-1.0]], [[-1.0]], -1e4, 0.0),
    "nothing_to_read": ([[]], [[]], 0.0, 0.0),
}


@pytest.mark.parametrize("loss", EACH)
def test_extreme_answers_give_finite_losses_and_gradients(loss: PairLoss) -> None:
    """In fp32, as the trainers compute them."""
    assert isinstance(loss, partial)
    keys = {"beta", "tau", "lambda_", "alpha"} & loss.keywords.keys()
    for strength in (1e-6, 1.0, 1e3):
        own = partial(loss.func, **{**loss.keywords, **dict.fromkeys(keys, strength)})
        for name, (rows_w, rows_l, ref_w, ref_l) in EXTREMES.items():
            sides = [answers(rows, [ref], [[-1.0]], torch.float32) for rows, ref in ((rows_w, ref_w), (rows_l, ref_l))]
            for side in sides:
                side.token_logps.requires_grad_()
            value = own(*sides).sum()
            value.backward()
            # Some say nothing of the chosen answer.
            slopes = [side.token_logps.grad for side in sides if side.token_logps.grad is not None]
            assert all(bool(part.isfinite().all()) for part in (value, *slopes)), (name, strength)


def test_a_certain_rejected_token_costs_much_and_not_infinitely() -> None:
    """In fp32 no probability below one is nearer to it than 6e-8: log(1 - p) is at least -17."""
    certain = answers([[0.0]], [0.0], dtype=torch.float32)
    found = losses.unlikelihood(certain, certain, alpha=1.0).item()
    assert 14 < found < 17


@pytest.mark.parametrize("p", [0.5, 0.9, 0.999, 1e-3, 1e-6])
def test_log_odds_keep_their_digits(p: float) -> None:
    """-log sigmoid(log odds(w) - log odds(l)) with odds(l) = 1 is log(1 + (1-p)/p) = -log p."""
    chosen, rejected = (answers([[math.log(q)]], [0.0], dtype=torch.float32) for q in (p, 0.5))
    odds_term = losses.orpo(chosen, rejected, lambda_=1.0).item() + math.log(p)
    assert odds_term == pytest.approx(-math.log(p), rel=1e-4)
