"""A GRAM rack on one machine: nodes with the bridges of a GRAM installation, four networks, VMOC over one of them."""
