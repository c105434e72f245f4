"""The plain floor: what Pulumi itself costs for as many dynamic resources that do nothing."""
