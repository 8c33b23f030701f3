"""Runs in which everything that is text tries to become markup, script, or something else than it looks like."""

from typing import Any

from tests.fakes.finished_study import Finished

ATTACKS = (
    "</script><script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 2'>",
    "<svg/onload=window.pwned=3>",
    "javascript:window.pwned=4",
    "\"><iframe srcdoc='<script>parent.pwned = 5</script>'>",
    "{{ 7 * 7 }}{% raw %}${window.pwned=6}",
    "<!--<script>",
    "]]><style>*{display:none}</style>",
    "&lt;b&gt; &amp;quot;",
    "</title><base href=https://evil.example/>",
    "line\u2028separator\u2029",
    "null\x00byte and \x1b[31mescape",
    "invoice\u202egpj.exe \u2066isolated\u2069",
    "half \ud800 a character",
    "x" * 20_000,
)
EVERYTHING = " ".join(each for each in ATTACKS if len(each) < 1000)


def hostile_runs() -> list[Finished]:
    """One run for each attack, in every place that holds text, and a failed one beside it."""
    return [run for place, attack in enumerate(ATTACKS) for run in _two(place, attack)]


def _two(place: int, raw: str) -> tuple[Finished, Finished]:
    # Half a character can stand in JSON that is escaped, as answers and tokens are, and nowhere else.
    attack = raw.encode("utf-8", "replace").decode()
    history = [
        {"step": step, "time": 0.0, "train/loss": 1.0 / step, f"eval/{attack[:200]}": 0.1} for step in range(1, 5)
    ]
    answers = [
        {"prompt": f"{i:016x}", "prompt_text": f"{raw} {i}", "text": raw, "tokens": 3, "reward": 1.0, "kl": 0.1,
         "win": 1.0, "ended": True, "start_text": raw, "start_tokens": 2, "start_reward": 0.0, "opponent": "start"}
        for i in range(2)
    ]  # fmt: skip
    token = {"id": 1, "token": raw, "mean_logratio": -1.0, "count": 2}
    tokens: dict[str, Any] = {
        "eos": {**token, "logp": -1.0}, "lowered": [token] * 3, "raised": [{**token, "mean_logratio": 1.0}],
        "histogram": {"edges": [-1.0, 0.0, 1.0], "counts": [3, 4]},
    }  # fmt: skip
    config = {"model__name": attack, "data__kind": attack, "reference": {"kind": "model", "path": f"/models/{attack}"}}
    params = {"data.pairs": attack, attack[:100]: attack}
    metrics = {"eval/reward": 0.5 + place / 100, "eval/kl": 1.0, f"eval/{attack[:200]}": 0.1}
    sound = Finished(
        beta=0.1 + place, metrics=metrics, config=config, params=params, history=history, answers=answers,
        tokens=tokens, degenerate=attack if place % 3 == 0 else None,
    )  # fmt: skip
    return sound, Finished(beta=0.1 + place, seed=1, status="failed", error=attack, config=config, params=params)
