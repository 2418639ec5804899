"""Waiting for what must come true: the only place in the tests that sleeps."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_until(condition: Callable[[], Value], what: str, timeout_s: float = 15.0) -> Value:
    """
    Ask `condition` again and again until it holds; return what it returned.

    Args:
        condition: returns something true when it holds. Its AssertionErrors count as "not yet"; the last one is shown.
        what: is waited for, for the message of the failure.
        timeout_s: after which the test fails. Generous, since it is only ever waited out when something is wrong.
    """
    deadline_s = time.monotonic() + timeout_s
    interval_s = 0.002
    while True:
        problem: AssertionError | None = None
        value: Value | None = None
        try:
            value = condition()
        except AssertionError as error:
            problem = error
        if value:
            return value
        if time.monotonic() > deadline_s:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain for {what}; last: {problem or repr(value)}") from problem
        time.sleep(interval_s)
        interval_s = min(interval_s * 1.5, 0.1)
