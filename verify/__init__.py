"""Proofs that take longer than tests may: `make verify` runs them."""
