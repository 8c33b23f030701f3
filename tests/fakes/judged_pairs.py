"""Pairs as people judge them: real ones where their file lies beside the checkout, else made ones with like faults."""

import json
from pathlib import Path
from random import Random

WORDS = "the a river of light café 北京 it's, however; “quoted” 42 § slowly not only but also → end. \n"


def judged_pairs(repository: Path, folder: Path) -> Path:
    """A file of some hundred pairs: several to a prompt, some twice, of very different lengths, not all in ASCII."""
    real = repository.parent / "shared" / "data" / "instructions.jsonl"
    if real.is_file():
        return real
    dice = Random(0)

    def text(most: int) -> str:
        return " ".join(dice.choices(WORDS.split(" "), k=dice.randint(3, most)))

    prompts = [f"{number}. {text(20)}" for number in range(100)]
    pairs = [{"prompt": dice.choice(prompts), "chosen": text(30), "rejected": text(30)} for _ in range(240)]
    twice = [pair for number, pair in enumerate(pairs) for _ in range(2 if number % 3 == 0 else 1)]
    path = folder / "judged.jsonl"
    path.write_text("".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in twice))
    return path
