"""What an event says happened, as a sentence. Pure: no Django, no database.

A sentence is made of parts, so that a page can link the tag and set off who did it; joined, they
are plain text.
"""
