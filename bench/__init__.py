"""Benchmarks: ``python -m bench`` puts a running VMOC under load, ``python -m bench.micro`` times its hot path."""
