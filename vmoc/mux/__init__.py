"""Who gets what. The multiplexer's core: bytes and moments in, bytes and effects out.

The nouns: a *switch* is one physical datapath (on one listener VLAN or none);
a *south session* is its TCP connection; a *virtual datapath* is one segment on
one switch; a *link* joins a virtual datapath to one controller; a *north
session* is the link's TCP connection while there is one. ``core.Mux`` owns
them all. Nothing here does I/O, reads a clock or holds a lock; per switch it
shares nothing, so switches may be spread over processes.
"""
