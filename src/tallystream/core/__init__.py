"""The pure core: data and `now_ms` in, decisions out. No I/O, clock, randomness, logging or threads."""
