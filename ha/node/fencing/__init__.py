"""Fencing: making sure, by another way than a heartbeat, that a node runs nothing any more (docs/fencing.md).

Carries out what the engine asks for, or an operator. It does not decide whom to fence, and knows no services.
"""
