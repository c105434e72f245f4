"""Pulumi dynamic providers: property bag in, property bag out, over `clients`."""
