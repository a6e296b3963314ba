"""What is said of people, groups, accounts and tokens."""

from workspaces.log.kinds import EventKind
from workspaces.log.sentences.pieces import (
    Happened,
    Part,
    Sentence,
    Style,
    Tellers,
    because,
    by_actor,
    is_about_actor,
    member_of,
    named,
    read_text,
    who,
)


def _person_deactivated(event: Happened) -> Sentence:
    after = Part(", who can’t use Taglock any more")
    return because((who(event), Part(" deactivated "), member_of(event), after), event)


def _person_reactivated(event: Happened) -> Sentence:
    return because((who(event), Part(" reactivated "), member_of(event)), event)


def _site_admin_added(event: Happened) -> Sentence:
    return Sentence((who(event), Part(" made "), member_of(event), Part(" a site administrator")))


def _site_admin_removed(event: Happened) -> Sentence:
    after = Part(" is no longer a site administrator")
    return Sentence((member_of(event), after), by_actor(event))


def _group_role_set(event: Happened) -> Sentence:
    return _group_gives(event, "gives")


def _group_role_removed(event: Happened) -> Sentence:
    return _group_gives(event, "no longer gives")


def _group_gives(event: Happened, gives: str) -> Sentence:
    role = read_text(event, "role")
    what = f"the role {role}" if role else "the administration of the site"
    does = Part(f" at the identity provider {gives} {what}")
    return Sentence((Part("The group"), *named(event, "group"), does), by_actor(event))


def _member_added(event: Happened) -> Sentence:
    role = _as_role(read_text(event, "after"))
    if is_about_actor(event):
        inviter = read_text(event, "invited_by")
        note = f"Invited by {inviter}" if inviter else ""
        return Sentence((who(event), Part(f" joined{role}")), note)
    return Sentence((who(event), Part(" added "), member_of(event), Part(role)), _by_group(event))


def _member_changed(event: Happened) -> Sentence:
    was, is_now = read_text(event, "before"), read_text(event, "after")
    what = Part(f" from {was} to {is_now}" if was and is_now else "")
    parts = (who(event), Part(" changed the role of "), member_of(event), what)
    return Sentence(parts, _by_group(event))


def _member_removed(event: Happened) -> Sentence:
    if is_about_actor(event):
        return Sentence((who(event), Part(" left the workspace")))
    was = read_text(event, "before")
    what = Part(f", who was {_article(was)} {was}" if was else "")
    note = "No group at the identity provider gives them a role" if _left_groups(event) else ""
    return Sentence((who(event), Part(" removed "), member_of(event), what), note)


def _invitation_made(event: Happened) -> Sentence:
    invitee = Part(read_text(event, "invitee") or "someone", Style.STRONG)
    role = Part(_as_role(read_text(event, "role")))
    return Sentence((who(event), Part(" invited "), invitee, role))


def _invitation_withdrawn(event: Happened) -> Sentence:
    invitee = Part(read_text(event, "invitee") or "someone", Style.STRONG)
    return Sentence((who(event), Part(" withdrew the invitation of "), invitee))


def _password_changed(event: Happened) -> Sentence:
    if is_about_actor(event):
        return Sentence((who(event), Part(" changed their password")))
    return Sentence((who(event), Part(" set the password of "), member_of(event)))


def _password_link_made(event: Happened) -> Sentence:
    return Sentence((who(event), Part(" made a password link for "), member_of(event)))


def _email_changed(event: Happened) -> Sentence:
    if is_about_actor(event):
        return Sentence((who(event), Part(" changed their e-mail address")))
    return Sentence((who(event), Part(" changed the e-mail address of "), member_of(event)))


def _account_linked(event: Happened) -> Sentence:
    account = named(event, "account")
    parts = (who(event), Part(" linked the registry account"), *account, Part(" to "))
    return Sentence((*parts, member_of(event)))


def _account_unlinked(event: Happened) -> Sentence:
    account = named(event, "account")
    parts = (who(event), Part(" unlinked the registry account"), *account, Part(" from "))
    return Sentence((*parts, member_of(event)))


def _account_paused(event: Happened) -> Sentence:
    parts = (who(event), Part(" paused the account of "), member_of(event))
    return Sentence(parts, "The identity provider no longer vouches for them")


def _account_resumed(event: Happened) -> Sentence:
    parts = (who(event), Part(" resumed the account of "), member_of(event))
    return Sentence(parts, "They signed in at the identity provider again")


def _sign_on_linked(event: Happened) -> Sentence:
    if is_about_actor(event):
        return Sentence((who(event), Part(" linked their account to single sign-on")))
    parts = (who(event), Part(" linked the account of "), member_of(event))
    return Sentence((*parts, Part(" to single sign-on")))


def _sign_on_unlinked(event: Happened) -> Sentence:
    parts = (who(event), Part(" unlinked the account of "), member_of(event))
    return Sentence((*parts, Part(" from single sign-on")))


def _personal_token_created(event: Happened) -> Sentence:
    return Sentence(
        (who(event), Part(" created the personal access token"), *named(event, "token"))
    )


def _personal_token_revoked(event: Happened) -> Sentence:
    return Sentence(
        (who(event), Part(" revoked the personal access token"), *named(event, "token"))
    )


def _token_created(event: Happened) -> Sentence:
    scopes = (event.details or {}).get("scopes")
    note = f"Scopes: {', '.join(map(str, scopes))}" if isinstance(scopes, list) and scopes else ""
    parts = (who(event), Part(" created the access token"), *named(event, "token"))
    return Sentence(parts, note)


def _token_revoked(event: Happened) -> Sentence:
    return Sentence((who(event), Part(" revoked the access token"), *named(event, "token")))


def _by_group(event: Happened) -> str:
    group = read_text(event, "group")
    return f"By the group {group} at the identity provider" if group else ""


def _left_groups(event: Happened) -> bool:
    return (event.details or {}).get("left_groups") is True


def _as_role(role: str) -> str:
    return f" as {role}" if role else ""


def _article(noun: str) -> str:
    return "an" if noun[:1] in "aeiou" else "a"


PEOPLE_TELLERS: Tellers = {
    EventKind.PERSON_DEACTIVATED: _person_deactivated,
    EventKind.PERSON_REACTIVATED: _person_reactivated,
    EventKind.SITE_ADMIN_ADDED: _site_admin_added,
    EventKind.SITE_ADMIN_REMOVED: _site_admin_removed,
    EventKind.GROUP_ROLE_SET: _group_role_set,
    EventKind.GROUP_ROLE_REMOVED: _group_role_removed,
    EventKind.MEMBER_ADDED: _member_added,
    EventKind.MEMBER_CHANGED: _member_changed,
    EventKind.MEMBER_REMOVED: _member_removed,
    EventKind.INVITATION_MADE: _invitation_made,
    EventKind.INVITATION_WITHDRAWN: _invitation_withdrawn,
    EventKind.PASSWORD_CHANGED: _password_changed,
    EventKind.PASSWORD_LINK_MADE: _password_link_made,
    EventKind.EMAIL_CHANGED: _email_changed,
    EventKind.ACCOUNT_LINKED: _account_linked,
    EventKind.ACCOUNT_UNLINKED: _account_unlinked,
    EventKind.ACCOUNT_PAUSED: _account_paused,
    EventKind.ACCOUNT_RESUMED: _account_resumed,
    EventKind.SIGN_ON_LINKED: _sign_on_linked,
    EventKind.SIGN_ON_UNLINKED: _sign_on_unlinked,
    EventKind.TOKEN_CREATED: _token_created,
    EventKind.TOKEN_REVOKED: _token_revoked,
    EventKind.PERSONAL_TOKEN_CREATED: _personal_token_created,
    EventKind.PERSONAL_TOKEN_REVOKED: _personal_token_revoked,
}
