"""The work behind the operations: plain functions on a session, without Flask."""
