"""The service controller: what a service is made of, and how it is started, stopped and looked at (``svcmgr``).

A service is a file of sections, each of which is a *resource*: an address, a file system, an application. This package
reads that file, acts on the resources in order, and tells how they are. It knows nothing of clusters: whoever decides
where a service runs (nmond, another manager, a person) calls ``S.cluster start`` and reads the exit code
(docs/controller.md), so nothing here imports ``ha.fsm``, ``ha.heartbeats`` or ``ha.node``.
"""
