"""Nodes of the lab that are machines: qemu with a kernel, disks and a watchdog of their own, emulated where need be.

What namespaces cannot show is shown here: a boot, a reset, a plug that is pulled under a mounted file system, volume
groups, a kernel's watchdog, a machine that is paused with its clock.
"""
