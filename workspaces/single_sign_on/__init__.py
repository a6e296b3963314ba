"""Single sign-on: people whom an identity provider vouches for, by OpenID Connect.

A person is known by the provider and its id for them (`sub`) alone, never by a name or an address.
"""
