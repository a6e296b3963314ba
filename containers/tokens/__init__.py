"""The registry's token service: who may pull, push and delete, said in tokens that it trusts.

`grants.py` reads what is asked for, `keys.py` makes and parses keys, `rotation.py` keeps and
changes them in the database, `stored_keys.py` remembers them for seconds, `tokens.py` signs and
reads tokens, `clients.py` knows who logs in and what they may do at this moment, `challenge.py`
asks for a token, and `views.py` is the service itself. It knows nothing of locks: the gate refuses.

Specification: "Token Authentication" of CNCF Distribution (docs/content/spec/auth/token.md).
"""
