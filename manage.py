#!/usr/bin/env python
"""Run Taglock's management commands."""

import os
import sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "packages_site.settings")
    from packages_site.command_line import main

    sys.exit(main(sys.argv))
