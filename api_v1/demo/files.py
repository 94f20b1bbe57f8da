"""The files of the demo, collected while its rows are made and written in one go at the end."""

from __future__ import annotations

import hashlib
from pathlib import Path


class Files:
    """The content of the repository folder, by path relative to it."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._lost: set[str] = set()

    def add(self, path: str, content: bytes) -> None:
        """Put a file at a path."""
        self._contents[path] = content

    def add_result(self, content: bytes, extension: str, *, lost: bool = False) -> str:
        """Put an output where the platform keeps them, named by its content.

        Args:
            content: what CCExtractor wrote.
            extension: the extension with its dot.
            lost: leave the file out, as if it had been deleted since.

        Returns:
            The SHA-256 of the content, as the platform's rows name it.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = f"TestResults/{digest}{extension}"
        self.add(path, content)
        if lost:
            self._lost.add(path)
        return digest

    def write(self, repository: Path) -> int:
        """Write the files that are not lost.

        Returns:
            Their number.
        """
        kept = {path: data for path, data in self._contents.items() if path not in self._lost}
        for path, content in kept.items():
            target = repository / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return len(kept)
