"""asyncio transports around the sans-I/O core: listeners, dials, TLS, back-pressure, and the pump that drives it.

``edge`` owns the core and the timer, ``wire`` is one TCP connection of either
side, ``southbound`` accepts switches, ``northbound`` dials controllers,
``tls`` makes contexts and turns TLS failures into sentences, ``portowner``
finds who holds a port, ``reasons`` turns exceptions into plain words, and
``supervise`` keeps a child process running.
"""
