"""A circuit opens on failures, is probed after pauses, and closes when the service answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn

import pytest

from api_v1.files.circuit_breaker import (
    CLOSED,
    FIRST_PAUSE,
    HALF_OPEN,
    LONGEST_PAUSE,
    OPEN,
    STEADY,
    CircuitBreaker,
    CircuitOpen,
)

LIMIT = 2.5


class Outage(Exception):
    """The service does not answer."""


class Refusal(Exception):
    """The service answers that it will not."""


class Service:
    """A service behind a circuit, on a clock of the test; probes are begun when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.error: type[Exception] | None = None
        self.calls = 0
        self.waiting: list[Callable[[], None]] = []
        self.circuit = CircuitBreaker(
            self.ask, self.waiting.append, lambda error: isinstance(error, Outage), clock=lambda: self.now
        )

    def ask(self) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "answer"

    def call(self) -> str:
        return self.circuit.call(self.ask, LIMIT)

    def fail(self) -> None:
        self.error = Outage
        with pytest.raises(Outage):
            self.call()

    def is_refused(self) -> bool:
        calls = self.calls
        try:
            self.call()
        except CircuitOpen:
            assert self.calls == calls
            return True
        return False

    def pause(self) -> float:
        """Let the pause pass and the probe fail; return how long the pause was."""
        began = self.now
        self.now += self.circuit.seconds_to_probe
        assert self.is_refused()
        self.run_probe()
        return self.now - began

    def run_probe(self) -> None:
        (probe,) = self.waiting
        self.waiting.clear()
        probe()


@pytest.fixture
def service() -> Service:
    return Service()


def test_calls_pass_while_the_service_answers(service: Service) -> None:
    assert [service.call() for _ in range(3)] == ["answer"] * 3
    assert (service.circuit.state, service.circuit.seconds_to_probe, service.waiting) == (CLOSED, 0, [])


def test_the_first_failure_opens_the_circuit_and_no_call_waits(service: Service) -> None:
    service.fail()
    assert service.circuit.state == OPEN
    assert all(service.is_refused() for _ in range(100))
    assert (service.calls, service.waiting) == (1, [])


def test_a_refusal_does_not_open_the_circuit(service: Service) -> None:
    service.error = Refusal
    for _ in range(3):
        with pytest.raises(Refusal):
            service.call()
    assert service.circuit.state == CLOSED


def test_one_probe_is_sent_after_a_pause(service: Service) -> None:
    service.fail()
    service.now += FIRST_PAUSE - 0.01
    assert service.is_refused() and not service.waiting
    service.now += 0.01
    assert all(service.is_refused() for _ in range(10))
    assert (len(service.waiting), service.calls, service.circuit.state) == (1, 1, HALF_OPEN)


@pytest.mark.parametrize("answer", [None, Refusal])
def test_a_successful_probe_closes_the_circuit(service: Service, answer: type[Exception] | None) -> None:
    service.fail()
    service.now += FIRST_PAUSE
    assert service.is_refused()
    service.error = answer
    service.run_probe()
    assert service.circuit.state == CLOSED
    service.error = None
    assert service.call() == "answer"


def test_pauses_grow_to_a_minute(service: Service) -> None:
    service.fail()
    assert [service.pause() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert LONGEST_PAUSE == 60
    assert service.circuit.seconds_to_probe == 60


def test_a_hanging_probe_counts_as_failed_and_its_late_response_closes_the_circuit(service: Service) -> None:
    service.fail()
    service.now += FIRST_PAUSE
    assert service.is_refused()
    (hanging,) = service.waiting
    service.waiting.clear()
    service.now += LIMIT
    assert (service.circuit.state, service.circuit.seconds_to_probe) == (OPEN, 2 * FIRST_PAUSE)
    hanging()  # fails late: the pause, which has begun, stays as it is
    assert service.circuit.seconds_to_probe == 2 * FIRST_PAUSE
    service.error = None
    hanging()
    assert service.circuit.state == CLOSED


def test_a_call_that_does_not_end_in_time_opens_the_circuit(service: Service) -> None:
    begun, free = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        assert free.wait(20)

    thread = threading.Thread(target=lambda: service.circuit.call(hang, LIMIT))
    thread.start()
    assert begun.wait(20)
    service.now += LIMIT - 0.01
    assert service.call() == "answer"
    service.now += 0.01
    assert service.is_refused()
    free.set()
    thread.join(20)
    assert service.circuit.state == OPEN


def test_a_failure_of_a_call_started_earlier_does_not_count(service: Service) -> None:
    """One of many concurrent calls that fail after their own time-outs opens the circuit."""

    def fail_after_recovery() -> NoReturn:
        service.fail()
        service.now += FIRST_PAUSE
        assert service.is_refused()
        service.error = None
        service.run_probe()
        assert service.circuit.state == CLOSED
        raise Outage

    with pytest.raises(Outage):
        service.circuit.call(fail_after_recovery, 100)
    assert service.circuit.state == CLOSED


def closed_again(service: Service) -> float:
    """Let a probe succeed; return how long the pause before was."""
    began = service.now
    service.now += service.circuit.seconds_to_probe
    assert service.is_refused()
    service.error = None
    service.run_probe()
    assert service.circuit.state == CLOSED
    return service.now - began


def test_pauses_grow_where_probes_succeed_and_calls_fail(service: Service) -> None:
    pauses = []
    for _ in range(8):
        service.fail()
        pauses.append(closed_again(service))
        service.now += 3
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_pauses_restart_after_a_steady_time(service: Service) -> None:
    service.fail()
    assert [service.pause(), closed_again(service)] == [1, 2]
    service.now += STEADY * 2
    service.fail()
    assert closed_again(service) == 1


def test_many_threads_start_one_probe(service: Service) -> None:
    service.fail()
    service.now += FIRST_PAUSE
    together = threading.Barrier(16)
    refused: list[bool] = []

    def ask() -> None:
        together.wait(20)
        refused.append(not service.circuit.allows(LIMIT))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert refused == [True] * 16
    assert len(service.waiting) == 1
