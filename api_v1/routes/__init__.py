"""The operations, one module per subject: each is a declaration and a body of one sentence."""

from api_v1.routes import (
    artifacts,
    audit_log,
    auth,
    baseline_approvals,
    branches,
    comparison,
    environments,
    errors,
    logs,
    outputs,
    queue,
    regression_tests,
    runs,
    samples,
    system,
)

__all__ = [
    "artifacts",
    "audit_log",
    "auth",
    "baseline_approvals",
    "branches",
    "comparison",
    "environments",
    "errors",
    "logs",
    "outputs",
    "queue",
    "regression_tests",
    "runs",
    "samples",
    "system",
]
