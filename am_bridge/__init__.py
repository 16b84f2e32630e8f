"""The gRPC side of VMOC: what aggregate managers call, in terms of the slices and switches that VMOC keeps.

Thin on purpose: convert, call, convert. What it needs of the running service is given to it; it knows neither the
multiplexer nor the network.
"""
