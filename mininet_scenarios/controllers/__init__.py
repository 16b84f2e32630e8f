"""Controllers of the stories. None of them knows VMOC: each is written for a plain OpenFlow switch."""
