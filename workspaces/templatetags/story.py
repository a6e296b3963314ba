"""Pieces of the log as a story."""

from datetime import UTC, date, datetime

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from workspaces.log.models import LockEvent
from workspaces.log.sentences.pieces import Part, Sentence, Style

register = template.Library()


@register.filter
def clock(value: datetime) -> SafeString:
    """Show the time of day in UTC, to the minute; the whole of it is in its title."""
    return _show(value, value.astimezone(UTC).strftime("%H:%M"))


@register.filter
def when(value: datetime, today: date) -> SafeString:
    """Show the time of day of what happened today in UTC, and of anything else the day."""
    utc = value.astimezone(UTC)
    if utc.date() == today:
        return clock(value)
    year = "" if utc.year == today.year else f" {utc.year}"
    return _show(value, f"{utc.day} {utc:%b}{year}")


def _show(value: datetime, text: str) -> SafeString:
    utc = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        text,
    )


@register.simple_tag
def sentence(told: Sentence, event: LockEvent) -> SafeString:
    """Show what happened; the tag that it happened to is a link."""
    return format_html_join("", "{}", ((_show_part(part, event),) for part in told.parts))


def _show_part(part: Part, event: LockEvent) -> SafeString | str:
    match part.style:
        case Style.STRONG:
            return format_html("<strong>{}</strong>", part.text)
        case Style.TAG:
            url = reverse("tag", args=[event.workspace, event.repository, event.tag])
            return _link(url, part.text)
        case Style.REPOSITORY:
            query = urlencode({"repository": event.repository})
            return _link(f"{reverse('lock-log', args=[event.workspace])}?{query}", part.text)
        case Style.PLAIN:
            return part.text


def _link(url: str, text: str) -> SafeString:
    return format_html('<a class="tag-name" href="{}"><code>{}</code></a>', url, text)


@register.filter
def short(digest: str) -> SafeString | str:
    """Show the first characters of a digest; the whole of it is in its title."""
    encoded = digest.partition(":")[2]
    if not encoded:
        return "–"
    return format_html('<code title="{}">{}</code>', digest, encoded[:12])
