"""Real networks on Open vSwitch and Mininet, each a runnable story. Nothing here is imported by ``vmoc``."""
