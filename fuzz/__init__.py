"""Hostile bytes, from every side and in every order, against the wire readers and the whole mux.

``python -m fuzz`` looks for trouble, ``python -m fuzz replay FILE`` shows it again. An *episode* is a list of plain
operations made from one seed (``plot``), played on a mux in memory with emulated switches and controllers (``world``)
under the eyes of judges that read the bytes with the emulation's own parsers (``judges``).
"""
