"""What exit codes mean."""

from __future__ import annotations

#: CCExtractor's own, as far as they mean the same in all of its versions.
_OF_CCEXTRACTOR = {
    2: "no input files",
    3: "too many input files",
    4: "incompatible parameters",
    5: "a file could not be created",
    6: "the size of the input is unknown",
    7: "malformed parameter",
    8: "read error",
    10: "no captions found",
}

#: A shell reports a program that a signal ended as 128 and the signal, a POSIX runtime as the negative signal.
_SIGNALS = {
    2: "interrupted",
    4: "illegal instruction",
    6: "aborted",
    7: "bus error",
    8: "arithmetic error",
    9: "killed",
    11: "segmentation fault",
    15: "terminated",
}

#: Windows' NTSTATUS, which is stored with a sign or without.
_STATUSES = {
    0xC0000005: "segmentation fault",
    0xC0000094: "arithmetic error",
    0xC00000FD: "stack overflow",
    0xC0000135: "a library is missing",
    0xC000013A: "interrupted",
    0xC000001D: "illegal instruction",
    0xC0000409: "aborted",
}

_NAMES = {
    **_OF_CCEXTRACTOR,
    **{code: name for signal, name in _SIGNALS.items() for code in (128 + signal, -signal)},
    **{code: name for status, name in _STATUSES.items() for code in (status, status - 2**32)},
}


def name_of(code: int | None) -> str | None:
    """Return what an exit code means, such as "segmentation fault" for 139; None where nobody knows."""
    return _NAMES.get(code) if code is not None else None


def named(code: int | None) -> str:
    """Return an exit code with its meaning, where that is known: `139 (segmentation fault)`."""
    name = name_of(code)
    shown = "none" if code is None else str(code)
    return f"{shown} ({name})" if name is not None else shown
