"""Tests that take too long for `make test`: `make verify` runs them."""
