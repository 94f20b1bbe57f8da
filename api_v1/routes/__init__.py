"""The operations, one module per tag of the contract: a declaration each, and a body of one sentence."""

from api_v1.routes import auth, errors_logs, results, runs, samples, system

__all__ = ["auth", "errors_logs", "results", "runs", "samples", "system"]
