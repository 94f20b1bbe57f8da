"""The files of the demo, collected while the rows are inserted and written together at the end."""

from __future__ import annotations

import hashlib
from pathlib import Path


class Files:
    """The content of the repository folder, by path relative to it."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._lost: set[str] = set()

    def add(self, path: str, content: bytes) -> None:
        """Add a file at a path."""
        self._contents[path] = content

    def add_result(self, content: bytes, extension: str, *, lost: bool = False) -> str:
        """Add an output to the platform's folder of results, named by its content.

        Args:
            content: the output of CCExtractor.
            extension: the extension with its dot.
            lost: do not write the file, as if it had been deleted.

        Returns:
            The SHA-256 of the content, as in the platform's rows.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = f"TestResults/{digest}{extension}"
        self.add(path, content)
        if lost:
            self._lost.add(path)
        return digest

    def write(self, repository: Path) -> int:
        """Write the files that are not lost; return their number."""
        kept = {path: data for path, data in self._contents.items() if path not in self._lost}
        for path, content in kept.items():
            target = repository / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return len(kept)
