"""The gate before CNCF Distribution 3, which reads the keys of tokens when it starts."""

import json

import jwt
import pytest

from packages_site.demo import PASSWORD
from tests.flows.asking import Api, skopeo_login, skopeo_push
from tests.services.distribution import Distribution3
from tests.services.parts import wait_until
from tests.services.registry_user import Repository, log_in, send
from tests.services.site import Site

pytestmark = pytest.mark.process


@pytest.mark.parametrize("registry_kind", ["distribution-3"], indirect=True, scope="session")
def test_the_keys_of_tokens_are_changed_step_by_step(
    site: Site, api: Api, distribution_3: Distribution3
) -> None:
    image = site.data_dir / "images" / "one"
    bob = site.account("bob")
    old = Repository(site.port, "acme/keys", bob).login
    tags = "/v2/acme/keys/tags/list"

    def push(tag: str) -> None:
        """Log in and push as a person does, by the token service of this moment."""
        assert skopeo_login(site.port, "bob").returncode == 0
        done = skopeo_push(image, site.port, f"acme/keys:{tag}")
        assert done.returncode == 0, done.stderr

    site.manage("token_keys", "prepare")
    distribution_3.trust(site)
    push("v1")
    site.manage("token_keys", "use")
    # Within seconds, and the old one is worth nothing later on.
    wait_until(lambda: _read_key_id(site) == bob.keys.find_signing_key().id)
    push("v2")
    assert send(site.port, "GET", tags, headers=old).status == 200
    site.manage("token_keys", "retire")
    push("v3")
    # The gate forgets it within seconds, and the registry when it starts.
    anonymous = Repository(site.port, "acme/keys")
    wait_until(lambda: anonymous.put("v4", b"{}", headers=old).status == 401)
    distribution_3.trust(site)
    push("v4")
    assert send(site.port, "GET", tags, headers=old).status == 401
    assert set(api.locks_of("acme/keys")) == {"v1", "v2", "v3", "v4"}


def _read_key_id(site: Site) -> object:
    """Return the id of the key that signs the token of someone who logs in now."""
    token = json.loads(log_in(site.port, "bob", PASSWORD).body)["token"]
    return jwt.get_unverified_header(token)["kid"]
