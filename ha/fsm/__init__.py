"""What a node decides. Pure: no clock, socket, file, thread or random number."""
