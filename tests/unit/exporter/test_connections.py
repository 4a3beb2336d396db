"""Connections stay few, and none outlives its time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from forktrace.exporter import connections
from forktrace.exporter.connections import MAX_CONNECTIONS, Connections


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    made = [socket.socketpair() for _ in range(2 * MAX_CONNECTIONS + 1)]
    yield made
    for pair in made:
        for end in pair:
            end.close()


Pairs = list[tuple[socket.socket, socket.socket]]


def is_shut(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_newcomer_takes_the_place_of_the_longest_silent(pairs: Pairs) -> None:
    table = Connections()
    assert all(table.admit(server) for server, _ in pairs[:MAX_CONNECTIONS])
    table.answering(pairs[0][0])
    assert table.admit(pairs[MAX_CONNECTIONS][0])
    assert not is_shut(pairs[0][1]), "it is being answered"
    assert is_shut(pairs[1][1])
    assert not any(is_shut(client) for _, client in pairs[2:])


def test_nobody_is_pushed_out_while_being_answered(pairs: Pairs) -> None:
    table = Connections()
    for server, _ in pairs[:MAX_CONNECTIONS]:
        table.admit(server)
        table.answering(server)
    assert not table.admit(pairs[MAX_CONNECTIONS][0])
    table.forget(pairs[0][0])
    assert table.admit(pairs[MAX_CONNECTIONS][0])


def test_there_are_never_more_than_twice_as_many(pairs: Pairs) -> None:
    table = Connections()
    admitted = [table.admit(server) for server, _ in pairs]
    assert admitted == [True] * 2 * MAX_CONNECTIONS + [False]


def test_a_newcomer_waits_for_those_who_are_leaving(pairs: Pairs) -> None:
    table = Connections()
    for server, _ in pairs[:-1]:
        table.admit(server)
    leaving = threading.Timer(0.1, table.forget, [pairs[0][0]])
    leaving.start()
    assert table.admit(pairs[-1][0])
    leaving.join()


def test_the_overdue_are_shut(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Connections()
    table.admit(pairs[0][0])
    monkeypatch.setattr(connections, "ANSWER_SECONDS", -1.0)
    table.admit(pairs[1][0])
    table.answering(pairs[1][0])
    table.shut_overdue()
    assert [is_shut(client) for _, client in pairs[:2]] == [False, True]
