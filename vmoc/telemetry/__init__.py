"""What the operator gets to see: log lines, events, metrics. Nothing here is on the path of a packet."""
