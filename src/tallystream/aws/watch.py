"""
How a live page learns of changes without the table's change stream: by its ledger, which grows with everything that is counted.

The ledger says that something changed, not where. Scanning for it would cost more than it is worth, so the windows of late are
named, in which nearly all events lie, and once in a while all windows.
"""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Final, NamedTuple

RECENT_MS: Final = 5 * 60_000
"""Windows this far from now, either way, are named with each change; all others …"""
ALL_EVERY_MS: Final = 60_000
"""… with the first change of a minute."""

# A batch's ledger and rows are written in any order: windows are named once more when they are written, and when the function
# that wrote them has surely ended, after a retry too.
_RESTS_MS: Final = (5_000, 150_000)
_STEPS: Final = len(_RESTS_MS) + 1
_EVER_MS: Final = 10**14
_REMEMBERED_MAX: Final = 1_000


class Span(NamedTuple):
    """From the window of one time to the window of another, included."""

    from_ms: int
    to_ms: int


class LedgerWatch:
    """
    Makes versions of how many events the ledger says were received.

    They are the same in each process that watches a table, but for the last step or two; one that this process has not seen
    is taken for one long ago.
    """

    def __init__(self, received: Callable[[], int], now_ms: Callable[[], int], refresh_ms: int) -> None:
        self._ask = received
        self._now_ms = now_ms
        self._refresh_ms = refresh_ms
        self._lock = Lock()
        self._received = -1
        self._grew_ms = 0
        self._asked_ms: int | None = None
        self._seen: OrderedDict[int, int] = OrderedDict()  # version → when it was first seen

    def version(self) -> int:
        """Return a number that grows when the ledger has grown, and again after each rest; asked for if it is too old."""
        with self._lock:
            now_ms = self._now_ms()
            if self._asked_ms is None or not 0 <= now_ms - self._asked_ms < self._refresh_ms:
                received = self._ask()
                if received != self._received:
                    self._received, self._grew_ms = received, now_ms
                self._asked_ms = now_ms
            version = self._received * _STEPS + sum(now_ms - self._grew_ms >= rest_ms for rest_ms in _RESTS_MS)
            self._seen.setdefault(version, now_ms)
            if len(self._seen) > _REMEMBERED_MAX:
                self._seen.popitem(last=False)
            return version

    def touched(self, since_version: int) -> Span | None:
        """Return what may have changed since a version; None for the present one."""
        if since_version == self.version():
            return None
        now_ms = self._now_ms()
        seen_ms = self._seen.get(since_version)
        if seen_ms is None or seen_ms // ALL_EVERY_MS != now_ms // ALL_EVERY_MS:
            return Span(-_EVER_MS, _EVER_MS)
        return Span(now_ms - RECENT_MS, now_ms + RECENT_MS)
