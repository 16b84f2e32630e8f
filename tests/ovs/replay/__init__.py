"""Hostile controllers by script: played through VMOC on Open vSwitch and through a mux in memory on a model switch."""
