"""Small pieces of pages."""

from datetime import UTC, datetime
from urllib.parse import urlencode

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from workspaces.access import describe_actor

register = template.Library()


@register.filter
def moment(value: datetime | None) -> SafeString | str:
    """Show a time in UTC, to the minute, as a <time> element; the second is in its title."""
    if value is None:
        return "–"
    utc = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        utc.strftime("%Y-%m-%d %H:%M UTC"),
    )


@register.filter
def second(value: datetime) -> SafeString:
    """Show a time in UTC, to the second, as a <time> element."""
    utc = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        utc.strftime("%Y-%m-%d at %H:%M:%S UTC"),
    )


@register.filter
def age(value: datetime) -> str:
    """Show how long ago a time was, in its largest unit: "2 s", "5 min", "3 h", "12 d"."""
    seconds = max(0, int((timezone.now() - value).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


@register.simple_tag
def actor(name: str, kind: str) -> str:
    """Show who did something, so that a program is not taken for a person."""
    return describe_actor(name, kind)


@register.simple_tag
def query(**parameters: str) -> str:
    """Return a query string of these parameters alone."""
    return urlencode(parameters)


@register.filter
def ticks(value: str) -> SafeString:
    """Show what stands between backticks as code."""
    parts = value.split("`")
    return format_html_join(
        "",
        "{}",
        (
            (format_html("<code>{}</code>", part) if index % 2 else part,)
            for index, part in enumerate(parts)
        ),
    )


@register.filter
def digest(value: str) -> SafeString | str:
    """Show a digest cut to twelve characters; selecting it copies the whole."""
    algorithm, _, encoded = value.partition(":")
    if not encoded:
        return "–"
    return format_html(
        '<code class="digest" title="{}">{}:{}<span class="digest-rest">{}</span></code>',
        value,
        algorithm,
        encoded[:12],
        encoded[12:],
    )
