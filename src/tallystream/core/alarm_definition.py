"""Alarms, channels and mutes as tally.toml defines them: from its tables to what the rest works with."""

import hashlib

import msgspec

from tallystream.core.alarm import Alarm


def alarm_fingerprint(alarm: Alarm) -> str:
    """Return a hash of everything that is configured of an alarm, in hexadecimal: an edited alarm has another."""
    return hashlib.sha256(msgspec.json.encode(alarm)).hexdigest()
