"""The mark of the stack that the tests are."""

OWNER = "demo.dev"
