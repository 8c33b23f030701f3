"""Waiting for a server that fails in passing: later each time, all threads together, and not for ever."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from analysis.patience import GaveUp, Patience, Refused
from tests.fakes.wandb_study import KEY


class Failing:
    """Fails so many times as the W&B client does, then answers."""

    def __init__(self, times: int, words: str = "HTTP 429: too many requests") -> None:
        self.left, self.words = times, words
        self.asked: list[float] = []

    def __call__(self) -> str:
        self.asked.append(time.monotonic())
        if self.left:
            self.left -= 1
            raise RuntimeError(f"POST http://server/graphql giving up after 2 attempt(s)\nwhile retrying: {self.words}")
        return "answer"


def patience(say: Callable[[str], None] = lambda _: None, tries: int = 4) -> Patience:
    return Patience(first_s=0.02, most_s=0.04, tries=tries, say=say)


def test_what_fails_in_passing_is_asked_again_later_each_time():
    server, said = Failing(3), list[str]()
    assert patience(said.append).ask(server) == "answer"
    waits = [later - earlier for earlier, later in zip(server.asked, server.asked[1:], strict=False)]
    assert len(waits) == 3
    assert min(waits) >= 0.01
    assert waits[1] >= 0.02
    assert said[0].startswith("HTTP 429: too many requests: trying again in ")


def test_after_so_many_tries_it_is_given_up():
    server = Failing(100)
    with pytest.raises(GaveUp, match="HTTP 429: too many requests, 4 times in a row"):
        patience().ask(server)
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "words",
    [
        "permission denied",
        "Could not find project p",
        "giving up after 2 attempt(s): dial tcp 127.0.0.1:9: connect: connection refused",
        "giving up after 2 attempt(s): lookup nowhere: no such host",
    ],
)
def test_what_no_waiting_mends_is_told_at_once(words: str):
    asked = []

    def refuse() -> None:
        asked.append(1)
        raise ValueError(words)

    with pytest.raises(Refused):
        patience().ask(refuse)
    assert asked == [1]


def test_an_end_of_a_list_is_no_failure():
    with pytest.raises(IndexError):
        patience().ask(lambda: [][0])


def test_a_failure_in_one_thread_lets_all_wait():
    shared = Patience(first_s=0.2, most_s=0.2)
    with ThreadPoolExecutor(2) as threads:
        failing, calm = Failing(1), Failing(0)
        first = threads.submit(shared.ask, failing)
        while not failing.asked:
            time.sleep(0.001)
        time.sleep(0.02)
        threads.submit(shared.ask, calm).result()
        first.result()
    assert calm.asked[0] - failing.asked[0] >= 0.1


def test_a_server_that_fails_too_often_is_asked_no_more():
    patient = Patience(first_s=0.001, tries=2, too_often=2)
    servers = [Failing(100) for _ in range(4)]
    for server in servers:
        with pytest.raises(GaveUp):
            patient.ask(server)
    assert [len(server.asked) for server in servers] == [2, 2, 0, 0]


def test_who_waits_gives_up_when_nobody_wants_the_answer_any_more():
    patient = Patience(first_s=60)
    with ThreadPoolExecutor(1) as threads:
        server = Failing(1)
        waiting = threads.submit(patient.ask, server)
        while not server.asked:
            time.sleep(0.001)
        patient.end()
        with pytest.raises(GaveUp, match="stopped"):
            waiting.result()


def test_a_key_that_the_client_quotes_is_not_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)

    def quote() -> None:
        raise ValueError(f"bad key {KEY}")

    with pytest.raises(Refused, match=r"bad key \*\*\*"):
        patience().ask(quote)
