"""The link from a page to the guide of what it is about."""

from django import template
from django.template.context import Context

from packages_site.guides import GuideLink, find_guide_link

register = template.Library()


@register.simple_tag(takes_context=True)
def page_guide(context: Context) -> GuideLink | None:
    """Return the link to the guide of the page that is rendered, or None where it has none."""
    match = getattr(context.get("request"), "resolver_match", None)
    return find_guide_link(match.url_name) if match and match.url_name else None
