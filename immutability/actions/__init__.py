"""What changes locks and settings, one verb family a file; each change with its event."""
