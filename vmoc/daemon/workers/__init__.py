"""More than one core: worker processes that each serve some of the switches, under a parent that has all the rest.

``placing`` says who serves which switch, ``messages`` what parent and workers
tell each other, ``crew`` is the parent's side, ``worker`` a worker's process,
``rack`` and ``watched`` put together what all of them know.
"""
