"""etcd as an arbiter: a key for each service, held by a lease, says whose the service is (docs/etcd.md).

``gateway`` speaks with the cluster, ``keeper`` gets, keeps and gives back, ``process`` is the process that does both,
``arbiter`` is nmond's side of it. None of them knows what a service is, or decides who may run one.
"""
