"""The live view of a fleet: what is there, compared with what the definition wants. No Pulumi, no state file."""
