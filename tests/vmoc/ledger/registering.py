"""``python -m tests.vmoc.ledger.registering PATH SEED``: registers and removes for ever, a line for each answer.

``? op name`` before a change, ``! op name`` once it is answered.
"""

from __future__ import annotations

import random
import sys

from vmoc.ledger import SliceBook
from vmoc.model import Attachment, Origin, Segment, Slice
from vmoc.registry import Registry
from vmoc.store import SqliteStore


def run(path: str, seed: int) -> None:
    chance = random.Random(seed)
    book = SliceBook(Registry(), SqliteStore(path))
    book.open([])
    print("ready", flush=True)
    while True:
        number = chance.randrange(1, 60)
        name = f"s{number}"
        try:
            book.get(name)
        except Exception:
            print(f"? + {name}", flush=True)
            book.register([Slice(name, (Segment(number, attachments=(Attachment(1),)),), origin=Origin.API)])
            print(f"! + {name}", flush=True)
        else:
            print(f"? - {name}", flush=True)
            book.unregister([name])
            print(f"! - {name}", flush=True)


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
