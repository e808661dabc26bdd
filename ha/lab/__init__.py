"""Nodes on this one machine: namespaces, a switch, a shared disk that can fail.

A playground for users and the ground of the end-to-end tests. The lab knows nothing of ezha's engine: it makes
machines, cuts their cables and takes their power away.
"""
