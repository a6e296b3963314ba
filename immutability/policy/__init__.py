"""What may be pushed and deleted: pure values and decisions. No Django, no clock, no database."""
