"""Text from outside, made safe to show: names of events are chosen by whoever sends them."""


def printable(text: str) -> str:
    r"""
    Return text that cannot steer what shows it: what is not printable becomes an escape such as \x1b or \u202e.

    A name must neither send a terminal escape sequences, nor begin another line, nor turn the direction of what follows.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    # Written out, since repr differs from what JSON and other languages can read back.
    named = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
    code = ord(character)
    return named.get(character) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )
