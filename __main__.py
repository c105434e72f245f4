"""The Pulumi program of a stack; everything is in `fleet.program`."""

from fleet.program import run

run()
