"""The prose of the OpenAPI document that belongs to no operation and no field."""

from __future__ import annotations

from api_v1.verdicts.meanings import RESULT_STATUSES, RUN_STATUSES

TAGS = {
    "Auth": "Token issuance and revocation",
    "Runs": "CI run lifecycle — list, inspect, trigger, cancel, retry",
    "Samples": "Media samples and regression test definitions",
    "Results": "Per-sample output, diffs, and baseline management",
    "Errors and Logs": "Structured errors and raw log access",
    "Triage": "Whose fault a failure is: runs compared, tests over time, the same failure across runs",
    "System": "Health, queue, branches, environments, and artifacts",
}

#: What the parameters of paths are.
PATH_PARAMETERS = {
    "run_id": "The run.",
    "sample_id": "The media sample.",
    "regression_id": "The regression test.",
    "approval_id": "The baseline approval.",
    "number": "The number of the pull request.",
    "token_name": "The name of the token; name:NAME for one that means something else here, such as name:current.",
}


def _terms(meanings: dict[str, str]) -> str:
    return "\n".join(f"- `{name}`: {meaning}" for name, meaning in meanings.items())


DESCRIPTION = f"""\
JSON-only REST API for the CCExtractor CI sample platform, for AI agents, scripts and maintainers. Scoped bearer tokens,
strict validation, rate limits on every route. No browser sessions, no HTML, no implicit permissions.

## Begin

`POST /auth/tokens` with email and password returns a token. Send it as `Authorization: Bearer TOKEN`. Each operation
states the scope that the token needs (`x-required-scope`) and the roles of which its owner needs one
(`x-required-roles`).

Ask `GET /pull-requests/{{number}}` first. It says whose fault the failures of a pull request are, and its `next_steps`
say what to ask next.

## Words

A *run* executes *regression tests* on one commit and platform. A regression test runs CCExtractor on a *media sample*
and compares each of its *outputs* with the *baseline*, the approved file, or an accepted variant of it.

The status of a run:

{_terms(RUN_STATUSES)}

The status of a regression test in a run:

{_terms(RESULT_STATUSES)}

`error` and `incomplete` are statuses of runs only; `skipped`, `missing_output` and `not_started` of tests only. An
`error` among `/errors` is something else: a single thing that is wrong with a test.

## Filters

- Several filters apply together. They are applied before pages are made, and `total` is the number of matches. An
  unknown parameter is refused, so that a misspelt filter never returns unfiltered data.
- A status, type, severity, level or another word of a list matches exactly itself: `fail` does not include
  `missing_output`. The one exception is `status` of `GET /samples/{{sample_id}}/history`, which says so.
- `name` and `contains` match a part, in any case; no character is special.
- `tag`, `category`, `extension`, `sha256`, `commit_sha`, `repository` and `actor` match the whole value, in any case.
- `branch`, `action` and `target` match the whole value, in its case.
- `created_after` and `created_before` exclude their bounds. Without an offset a time is UTC; all times sent are UTC.
- An id that nothing has matches nothing in a filter; in a path it is a 404.

## Lists

`limit` and `offset` choose the page, `pagination.next_offset` is the next one, and the header `Link` has its URL. Logs
have a `cursor` instead. Every list has a total order, so that pages neither repeat nor skip entries.

## Requests and answers

- Every error is `{{"code", "message", "details"}}`; `code` says what it is.
- A `GET` has an `ETag`. Sent back as `If-None-Match`, it gives a 304 without a body while nothing changed.
- `X-Request-ID` is that of the request if it is made of 1 to 128 letters, digits, dots, underscores and hyphens, else a
  new one. The server's log has it.
- `Idempotency-Key` makes it safe to repeat a request after a time-out: the answer is the first one again, with
  `Idempotency-Replayed: true`.
- Responses may get more fields. Ignore those that you do not know.
"""
