"""Where Debian's Chromium is."""

import shutil


def find_chromium() -> str | None:
    """Return the path of the browser without windows, which is lighter, or of the whole one."""
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")
