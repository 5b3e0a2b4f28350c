"""
The metadata of a build: the README as the package index shows it, and the project's addresses.

``PROJECT_HOME``, the URL of the public repository, fills in both. Without it, links within the repository become plain
text and the picture is left out, as they would lead to places that do not exist.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_IMAGE = re.compile(r"^!\[[^\]]*\]\((?!https?://)([^)\s]+)\)\n+", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)([^)\s]+)\)")


def readme(text: str, home: str | None, version: str) -> str:
    """
    Return the README with links that hold outside the repository.

    :param text: The README of the repository, with relative links.
    :param home: URL of the public repository, or None where there is none.
    :param version: The version that is built; links lead to its tag.
    """
    if home is None:
        return _LINK.sub(r"\1", _IMAGE.sub("", text))
    text = _IMAGE.sub(lambda found: found[0].replace(found[1], f"{home}/raw/v{version}/{found[1]}"), text)
    return _LINK.sub(rf"[\1]({home}/blob/v{version}/\2)", text)


def urls(home: str | None, docs: str | None, version: str) -> dict[str, str]:
    """
    Return the addresses of the project, none where it has none.

    :param home: URL of the public repository.
    :param docs: URL of the documentation site; None for the pages in the repository.
    :param version: The version that is built.
    """
    if home is None:
        return {}
    return {
        "Documentation": docs or f"{home}/tree/v{version}/docs",
        "Changelog": f"{home}/blob/v{version}/CHANGELOG.md",
        "Source": home,
        "Issues": f"{home}/issues",
    }


class ProjectMetadataHook(MetadataHookInterface):
    """Fills in the dynamic fields ``readme`` and ``urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the two fields."""
        root = Path(self.root)
        found = re.search(r'^__version__ = "(.+)"$', (root / "airflow_provider_portkey/__init__.py").read_text(), re.M)
        if found is None:
            raise ValueError("airflow_provider_portkey/__init__.py has no __version__")
        home, docs = (os.environ.get(name, "").rstrip("/") or None for name in ("PROJECT_HOME", "PROJECT_DOCS"))
        text = readme((root / "README.md").read_text(), home, found[1])
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = urls(home, docs, found[1])
