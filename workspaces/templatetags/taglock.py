"""Small pieces of pages."""

from datetime import UTC, datetime
from urllib.parse import urlencode

from django import template
from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from workspaces.access import describe_actor
from workspaces.charts import BarChart

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
def minute(value: datetime) -> SafeString:
    """Show a time to the minute, under a heading that says UTC."""
    utc = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        utc.strftime("%Y-%m-%d %H:%M"),
    )


@register.filter
def day(value: datetime) -> SafeString:
    """Show the day of a time, under a heading that says UTC; the second is in its title."""
    utc = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
        utc.strftime("%Y-%m-%d %H:%M:%S UTC"),
        utc.strftime("%Y-%m-%d"),
    )


@register.filter
def marked(name: str, part: str) -> SafeString | str:
    """Show a name with the part of it marked that was looked for, whatever its case."""
    start = name.lower().find(part.lower()) if part else -1
    if start < 0:
        return name
    end = start + len(part)
    return format_html("{}<mark>{}</mark>{}", name[:start], name[start:end], name[end:])


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
    """Return a query string of only these parameters."""
    return urlencode(parameters)


@register.filter
def ticks(value: str) -> SafeString:
    """Show text between backticks as code."""
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


@register.simple_tag
def icon(name: str) -> SafeString:
    """Draw an icon of icons.svg, which says nothing to a screen reader: a word goes with it."""
    return format_html(
        '<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>', static("icons.svg"), name
    )


@register.simple_tag
def version() -> str:
    """Return which version of Taglock this is."""
    return settings.TAGLOCK_VERSION


@register.simple_tag
def guide_url(name: str = "", anchor: str = "") -> str:
    """Return the address of a guide, `docs/<name>.md`, or of the list of them."""
    address = reverse("guide", args=[name]) if name else reverse("guides")
    return f"{address}#{anchor}" if anchor else address


@register.simple_tag
def long_name(name: str, url: str = "") -> SafeString:
    """Show a name on one line, cut where it is too long; the focus shows the whole of it."""
    if url:
        return format_html('<a class="clip" href="{}" title="{}">{}</a>', url, name, name)
    return format_html('<span class="clip" tabindex="0" title="{}">{}</span>', name, name)


@register.inclusion_tag("copy_button.html")
def copy_button(value: str, what: str) -> dict[str, str]:
    """Show a button that copies `value`; `what` names it: "the digest"."""
    return {"value": value, "what": what}


@register.inclusion_tag("command.html")
def command(text: str, what: str = "the command") -> dict[str, str]:
    """Show a command, on one line or more, with a button that copies it."""
    return {"text": text, "what": what}


@register.inclusion_tag("state_badge.html")
def state_badge(state: str, label: str = "") -> dict[str, str]:
    """Show a state as an icon and a word: `label`, or the state itself, capitalized."""
    look, icon_name = _STATES.get(state, ("quiet", ""))
    return {"look": look, "icon_name": icon_name, "label": label or state.capitalize()}


_STATES = {
    "locked": ("ok", "lock"),
    "suspended": ("warning", "lock-open"),
    "released": ("warning", "lock-open"),
    "claimed": ("warning", "clock"),
    "reserved": ("danger", "ban"),
    "deleting": ("danger", "trash-2"),
    "refused": ("danger", "ban"),
    "expired": ("danger", "clock"),
    "public": ("warning", ""),
    "archived": ("warning", "lock"),
    "deactivated": ("danger", "ban"),
    "paused": ("warning", "clock"),
    "ok": ("ok", "check"),
    "warning": ("warning", "triangle-alert"),
    "failed": ("danger", "ban"),
}


@register.simple_tag(takes_context=True)
def with_next(context: template.Context, url: str) -> str:
    """Return `url`, with the address of this page as the place to come back to."""
    request: HttpRequest = context["request"]
    return f"{url}?{urlencode({'next': request.get_full_path()})}"


@register.simple_tag(takes_context=True)
def without(context: template.Context, *names: str) -> str:
    """Return the query string of this page without these parameters, as a chip removes a filter."""
    request: HttpRequest = context["request"]
    kept = request.GET.copy()
    for name in names:
        kept.pop(name, None)
    return f"?{kept.urlencode()}"


@register.inclusion_tag("bar_chart.html")
def bar_chart(chart: BarChart) -> dict[str, BarChart]:
    """Draw a bar chart."""
    return {"chart": chart}
