"""os-ken applications: VMOC's own place among them, the default controller, link discovery."""
