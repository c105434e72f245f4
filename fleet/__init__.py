"""Fleets of AI tenants on vCluster Platform and Argo CD, as one Pulumi program.

The folders below are layers, and `pyproject.toml` names the direction in which they may import.
"""

__version__ = "0.1.0"
