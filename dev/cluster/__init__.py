"""A real Kubernetes on this machine, for development, the demo and the cluster tests.

`PYTHONPATH=dev python3 -m cluster up` builds (once) and starts etcd, the Kubernetes programs,
containerd and an S3 server; `down` takes all of it away again. With `--size api` it is the control
plane alone, on loopback, without root, beside others of its kind; kwok plays nodes and pods. It is
a tool of the project and no part of the product: nothing under `contract/`, `operator/` or
`trainer/` may import it. Standard library only, because it runs before any environment exists.
"""
