"""Access control: scopes and roles, tokens, log-ins, and the redaction of credentials."""
