"""Short stories on drawn networks: ``python -m mininet_scenarios.scenarios NAME``. Each module draws, and tells."""
