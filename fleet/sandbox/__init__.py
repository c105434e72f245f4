"""The sandbox: a control plane in seconds, with nothing but Python installed.

Real etcd and kube-apiserver, the platform's kinds as CRDs, and a stand-in for the platform itself; everything on
127.0.0.1. Nothing outside `fleet.cli` and tests imports it.
"""
