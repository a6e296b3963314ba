"""Which version of Taglock this is."""

VERSION = "0.1.0"
