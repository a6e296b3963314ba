"""Small pieces of pages."""

from datetime import UTC, datetime
from urllib.parse import urlencode

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

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


@register.simple_tag
def query(**parameters: str) -> str:
    """Return a query string of these parameters alone."""
    return urlencode(parameters)


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
