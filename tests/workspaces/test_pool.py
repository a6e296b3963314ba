"""No connection to the database is held while something else is waited for."""

from typing import Any, NoReturn

import pytest
from django.core.mail import EmailMessage
from django.db import connection

from tests.conftest import is_postgresql
from tests.workspaces.single_sign_on.double import PROVIDER
from workspaces.mail import mail_invitation
from workspaces.models import Workspace
from workspaces.single_sign_on import provider
from workspaces.single_sign_on.provider import ProviderAwayError, ProviderClient


@pytest.mark.django_db(transaction=True)
def test_while_a_mail_is_sent_and_the_identity_provider_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[bool] = []

    class Pool:
        def urlopen(self, *_: Any, **__: Any) -> NoReturn:
            held.append(connection.connection is not None)
            raise OSError

        def close(self) -> None:
            """There is nothing to close."""

    def send(_: EmailMessage) -> None:
        held.append(connection.connection is not None)

    monkeypatch.setattr(EmailMessage, "send", send)
    monkeypatch.setattr(provider, "make_pool", lambda *_: Pool())
    connection.ensure_connection()
    mail_invitation("dana@example.org", Workspace(name="Acme"), "https://x", inviter="alice")
    connection.ensure_connection()
    with pytest.raises(ProviderAwayError):
        ProviderClient(PROVIDER).read_metadata()
    # SQLite's connections belong to no pool.
    assert held == [not is_postgresql()] * 2
