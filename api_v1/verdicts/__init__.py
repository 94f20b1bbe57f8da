"""The state of a run: the rule, how it is derived, and how stored states are kept right."""
