"""Compute handlers: what makes, changes, removes and looks at slivers, and the processor that runs them.

An aggregate manager asks for a *sliver*, say a virtual machine on VLANs of its
slice. ``catalogue`` knows from ``handlers.yaml`` which *handler* is in charge of
a resource type and within which limits; ``processor`` turns the request into an
*operation*, writes it down (``journal``), and runs it when ``queue`` says so;
``ansible`` is the handler whose verbs are playbooks. Nothing here knows gRPC.
"""
