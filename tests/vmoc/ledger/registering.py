"""``python -m tests.vmoc.ledger.registering PATH SEED``: registers and removes for ever, a line for each answer.

``? op name`` before a change, ``! op name`` once it is answered.
"""

from __future__ import annotations

import os
import random
import sys

from vmoc.ledger import SliceBook
from vmoc.model import Attachment, Origin, Segment, Slice
from vmoc.registry import Registry
from vmoc.store import SqliteStore


def say(line: str) -> None:
    """In one write, which a kill cannot cut in two."""
    os.write(1, f"{line}\n".encode())


def run(path: str, seed: int) -> None:
    chance = random.Random(seed)
    book = SliceBook(Registry(), SqliteStore(path))
    book.open([])
    say("ready")
    while True:
        number = chance.randrange(1, 60)
        name = f"s{number}"
        try:
            book.get(name)
        except Exception:
            say(f"? + {name}")
            book.register([Slice(name, (Segment(number, attachments=(Attachment(1),)),), origin=Origin.API)])
            say(f"! + {name}")
        else:
            say(f"? - {name}")
            book.unregister([name])
            say(f"! - {name}")


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
