"""Places are handed on in the order people came."""

from __future__ import annotations

import threading
import time

from forktrace.exporter.turns import Turns
from tests.patience import PATIENCE


def test_who_asks_again_at_once_comes_after_those_who_wait() -> None:
    turns, order = Turns(1), list[str]()
    assert turns.take(0)

    def wait() -> None:
        assert turns.take(PATIENCE)
        order.append("patient")
        turns.give_back()

    patient = threading.Thread(target=wait)
    patient.start()
    while not turns._waiting:
        time.sleep(0.001)
    turns.give_back()
    assert turns.take(PATIENCE)
    order.append("greedy")
    patient.join()
    assert order == ["patient", "greedy"]


def test_no_more_than_the_places_and_none_gets_lost() -> None:
    turns, lock = Turns(2), threading.Lock()
    inside = most = done = 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(50):
            assert turns.take(PATIENCE)
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0)
            with lock:
                inside -= 1
                done += 1
            turns.give_back()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (2, 400)
    assert turns.take(0)
    assert turns.take(0)
    assert not turns.take(0)


def test_who_gives_up_is_forgotten() -> None:
    turns = Turns(1)
    assert turns.take(0)
    assert not turns.take(0.01)
    turns.give_back()
    assert turns.take(0)
