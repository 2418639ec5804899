"""Paths that are more than a route: who may ask, or where they are served, depends on them."""

from typing import Final

EVENTS_PATH: Final = "/v1/events"
SEGMENT_CALLS: Final = ("track", "page", "screen", "identify", "group", "alias", "batch")
RETRY_PATH: Final = "/v1/rejected/retry"
SOURCES_PATH: Final = "/v1/sources/"
ALARMS_PATH: Final = "/v1/alarms"
