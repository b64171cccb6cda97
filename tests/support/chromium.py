"""Finds the Chromium that browser tests drive."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Return the path of the first Chromium on PATH."""
    return next((path for path in map(shutil.which, NAMES) if path is not None), None)
