"""The wire layer: bytes to typed values and back, for OpenFlow 1.0 (0x01) and 1.3 (0x04).

Everything here is a pure function over bytes. Readers are strict (they raise
``vmoc.errors.Refused`` with the error the specification names) and bounded:
each step over a TLV advances at least four bytes and no length field is
believed beyond the region it lies in. Writers produce the canonical form, so
two messages of the same meaning have the same bytes.
"""
