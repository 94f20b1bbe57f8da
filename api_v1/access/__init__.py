"""Who may do what: scopes and roles, tokens and log-ins, and what must not leave the API."""
