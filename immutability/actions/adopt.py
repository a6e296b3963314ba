"""Adopt: lock what the registry had already under a tag that is newly claimed."""

from django.db import transaction

from containers.reference import Digest
from containers.registry.client import RegistryClient
from immutability.actions.attempts import record_seen
from immutability.actions.look import look
from immutability.actions.round import PushRound
from immutability.protection import Step


def adopt_present(push: PushRound, registry: RegistryClient) -> bool:
    """Adopt what the registry has under the claimed tags of `push`; return whether it had any.

    Whoever joins a claim looks too: the one that made it may not have looked yet. Raises
    UndecidedError where the registry does not say what it has, MovedError where a claim is gone.
    """
    is_adopted = False
    for tag in push.tags_with(Step.CLAIM, Step.JOIN):
        answer = look(push.workspace, push.repository, tag, registry)
        is_joined = push.decisions[tag].step is Step.JOIN
        if answer is None or (is_joined and answer.digest == push.digest.value):
            continue
        is_adopted = True
        present = Digest(answer.digest)
        media_type = answer.headers.get("Content-Type", "")
        with transaction.atomic():
            push.adopt(push.own_claim(tag), present)
            record_seen(push.workspace, push.repository, present, answer.body, media_type)
    return is_adopted
