"""The parts of back-translation: the seed, the turned pairs, and which texts are kept."""

from trainers.backtranslation import backward, best, split
from trainers.data import TokenisedPair

PAIRS = [TokenisedPair([number, 1], [number, 2, 9], [number, 3, 9], truncated=False) for number in range(20)]


def test_the_seed_and_the_texts_share_the_pairs() -> None:
    seed, texts = split(PAIRS, 0.25, 0)
    assert (len(seed), len(texts)) == (5, 15)
    assert sorted(pair.prompt_ids[0] for pair in seed + texts) == list(range(20))
    assert split(PAIRS, 0.25, 0) == (seed, texts) != split(PAIRS, 0.25, 1)


def test_neither_of_them_is_empty() -> None:
    assert [len(part) for part in split(PAIRS[:2], 0.01, 0)] == [1, 1]
    assert [len(part) for part in split(PAIRS[:2], 0.99, 0)] == [1, 1]


def test_a_backward_pair_has_the_answer_first_and_ends_the_prompt() -> None:
    turned = backward(PAIRS[4], 9)
    assert (turned.prompt_ids, turned.chosen_ids) == ([4, 2, 9], [4, 1, 9])


def test_the_best_share_is_kept_in_its_own_order() -> None:
    assert best([0.1, 0.9, 0.5, 0.7], 0.5) == [1, 3]
    assert best([1.0, 1.0, 1.0, 1.0], 0.5) == [0, 1]
    assert best([0.3], 0.1) == [0]
    assert best([], 0.5) == []
