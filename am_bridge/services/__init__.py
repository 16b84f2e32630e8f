"""The services of vmoc.v1, one class each: convert, call, convert.

Methods are named like the rpc, take the request and a ``Call``, and return the answer or raise; they may block.
"""
