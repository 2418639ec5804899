"""Aggregates as the Kinesis Producer Library writes them, for tests: a Protocol Buffers message between a magic and its MD5."""

from collections.abc import Sequence
from hashlib import md5


def aggregate(user_records: Sequence[bytes]) -> bytes:
    body = _field(1, b"key") + b"".join(_field(3, b"\x08\x00" + _field(3, data)) for data in user_records)
    return b"\xf3\x89\x9a\xc2" + body + md5(body).digest()


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
