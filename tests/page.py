"""Read pages as a browser without JavaScript does, and use them: type, press, follow.

The parser is strict where browsers forgive: an element that is not closed, or an attribute given
twice, fails the test. It takes half the time of Python's own.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import unescape
from typing import Any
from urllib.parse import urljoin

from django.test import Client

_VOID = frozenset(("br", "hr", "img", "input", "link", "meta", "wbr"))
_INLINE = frozenset(("a", "code", "em", "mark", "span", "strong", "time", "wbr"))
_CONTROLS = ("input", "select", "textarea")
_NAME = r"[^\s=<>\"'/]+"
_VALUE = r"\"[^\"]*\"|'[^']*'|[^\s\"'=<>]+"
_ATTRIBUTE = re.compile(rf"({_NAME})(?:=({_VALUE}))?")
# A start tag with its attributes, an end tag, or text; nothing of them in what is no element.
_TOKEN = re.compile(
    rf"<([a-z][a-z0-9-]*)((?:\s+{_NAME}(?:=(?:{_VALUE}))?)*)\s*(/?)>"
    r"|</([a-z][a-z0-9-]*)>|([^<]+)|<!doctype html>|<!--.*?-->",
    re.DOTALL | re.IGNORECASE,
)

Typed = str | list[str] | None


@dataclass(eq=False)
class Element:
    """An element of a page."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    parent: "Element | None" = None
    children: "list[Element | str]" = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<{self.tag} {self.attributes}>"

    def __getitem__(self, name: str) -> str:
        return self.attributes[name]

    def get(self, name: str) -> str | None:
        """Return an attribute, or None."""
        return self.attributes.get(name)

    def walk(self) -> Iterator["Element"]:
        """Yield every element within this one, in the order of the document."""
        yield from self._within

    @cached_property
    def _within(self) -> "list[Element]":
        """Every element within this one: a page that has been read stays as it is."""
        found: list[Element] = []
        for child in self.children:
            if isinstance(child, Element):
                found.append(child)
                found += child._within
        return found

    @property
    def raw_text(self) -> str:
        """All text within, as it was written."""
        return "".join(
            child if isinstance(child, str) else child.raw_text for child in self.children
        )

    @property
    def text(self) -> str:
        """All text within, as it is read: white space shrunk, and blocks apart."""
        return " ".join("".join(self._pieces()).split())

    def _pieces(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
                continue
            space = "" if child.tag in _INLINE else " "
            yield space
            yield from child._pieces()
            yield space

    @property
    def ancestors(self) -> Iterator["Element"]:
        """Yield the elements around this one, from the inside."""
        above = self.parent
        while above is not None:
            yield above
            above = above.parent

    def find_all(self, tag: str = "", **attributes: str | bool) -> list["Element"]:
        """Return the elements within that have these attributes; True is any value.

        `aria_label` stands for aria-label, `class_` for class, of which one name is enough.
        """
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            each
            for each in self._within
            if tag in ("", each.tag)
            and all(_has(each, name, value) for name, value in wanted.items())
        ]

    def find(self, tag: str = "", **attributes: str | bool) -> "Element":
        """Return the only element within that has these attributes."""
        found = self.find_all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} elements are <{tag} {attributes}>: {found}"
        return found[0]

    def find_with_text(self, tag: str, text: str) -> "Element":
        """Return the only element of this kind that a person reads as `text`."""
        found = [
            each
            for each in self.find_all(tag)
            if each.text == text and each.get("aria-hidden") is None
        ]
        assert len(found) == 1, f"{len(found)} <{tag}> say {text!r}, in: {self.text}"
        return found[0]


def _has(element: Element, name: str, wanted: str | bool) -> bool:  # noqa: FBT001  (True is any value)
    found = element.get(name)
    if isinstance(wanted, bool):
        return (found is not None) is wanted
    if name == "class":
        return wanted in (found or "").split()
    return found == wanted


@dataclass(eq=False)
class Page(Element):
    """A whole page, and how it came."""

    path: str = ""
    redirects: list[tuple[str, int]] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def main(self) -> Element:
        return self.find("main")

    @property
    def title(self) -> str:
        return self.find("title").text

    @property
    def heading(self) -> str:
        return self.find("h1").text

    @property
    def banners(self) -> list[str]:
        """What the page says about what was just done."""
        return [banner.text for banner in self.find_all(class_="banner")]

    @property
    def focused_id(self) -> str | None:
        """The id of what has the focus when the page opens, "" where it has no id, or None."""
        focused = self.find_all(autofocus=True)
        assert len(focused) <= 1, focused
        return (focused[0].get("id") or "") if focused else None

    @property
    def facts(self) -> dict[str, str]:
        """The terms of the description lists, each with what is said of it."""
        terms = self.main.find_all("dt")
        described = self.main.find_all("dd")
        return {dt.text: dd.text for dt, dd in zip(terms, described, strict=True)}

    @property
    def rows(self) -> list[list[str]]:
        """The table's rows, as a person reads their cells."""
        body = self.main.find("tbody")
        return [
            [cell.text for cell in row.walk() if cell.tag in ("td", "th")]
            for row in body.find_all("tr")
        ]

    def by_id(self, identifier: str) -> Element:
        """Return the only element with this id."""
        return self.find(id=identifier)

    def form_of(self, control: Element) -> Element:
        """Return the form that a control belongs to."""
        form = self._find_form(control)
        assert form is not None, f"{control} is in no form"
        return form

    def _find_form(self, control: Element) -> Element | None:
        if identifier := control.get("form"):
            return self.by_id(identifier)
        return next((each for each in control.ancestors if each.tag == "form"), None)

    def read_form(self, form: Element) -> dict[str, list[str]]:
        """Return what a browser would send of this form, but for the button that was pressed."""
        sent: dict[str, list[str]] = {}
        for control in self.walk():
            if control.tag not in _CONTROLS or form is not self._find_form(control):
                continue
            is_choice = control.get("type") in ("radio", "checkbox")
            if control.get("name") and (not is_choice or "checked" in control.attributes):
                sent.setdefault(control["name"], []).append(_read(control))
        return sent


def _read(control: Element) -> str:
    if control.tag == "textarea":
        # HTML drops one line break right after the start tag.
        return control.raw_text.removeprefix("\n")
    if control.tag == "select":
        options = control.find_all("option")
        chosen = control.find_all("option", selected=True) or options[:1]
        return chosen[0]["value"]
    default = "on" if control.get("type") in ("radio", "checkbox") else ""
    return control.attributes.get("value", default)


def parse(html: str) -> Page:
    """Return the page, or the fragment, that `html` is."""
    page = Page("#document")
    around: list[Element] = [page]
    position = 0
    while position < len(html):
        token = _TOKEN.match(html, position)
        assert token is not None, f"neither text nor a tag: {html[position : position + 80]!r}"
        position = token.end()
        start, attributes, is_closed, end, text = token.groups()
        if text is not None:
            around[-1].children.append(unescape(text))
        elif start is not None:
            element = Element(start.lower(), _read_attributes(start, attributes), around[-1])
            around[-1].children.append(element)
            if not is_closed and element.tag not in _VOID:
                around.append(element)
        elif end is not None:
            assert around[-1].tag == end.lower(), (
                f"</{end}> closes {around[-1]}, line {html.count(chr(10), 0, position) + 1}"
            )
            around.pop()
    assert around == [page], f"not closed: {around[1:]}"
    return page


def _read_attributes(tag: str, text: str) -> dict[str, str]:
    found = _ATTRIBUTE.findall(text)
    attributes = {name.lower(): _read_value(value) for name, value in found}
    assert len(attributes) == len(found), f"an attribute is given twice: <{tag}{text}>"
    return attributes


def _read_value(text: str) -> str:
    is_quoted = text.startswith(("'", '"'))
    return unescape(text[1:-1] if is_quoted else text)


def read_page(response: Any, status: int = 200) -> Page:
    """Return the page that came with this status."""
    said = response.content.decode().partition("<main")[2][:1000]
    assert response.status_code == status, f"{response.status_code}: {said}"
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    page = parse(response.content.decode())
    page.redirects = getattr(response, "redirect_chain", [])
    page.path = response.wsgi_request.get_full_path()
    page.headers = response.headers
    return page


class Browser:
    """Somebody at a browser without JavaScript."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.page = Page("#document")

    def open(self, path: str, status: int = 200) -> Page:
        """Go to an address, and on to where it redirects."""
        response = self.client.get(urljoin(self.page.path, path), follow=True)
        self.page = read_page(response, status)
        return self.page

    def follow(self, text: str) -> Page:
        """Follow the link that reads `text`."""
        return self.open(self.page.find_with_text("a", text)["href"])

    def press(self, button: str, status: int = 200, /, **typed: Typed) -> Page:
        """Press the button that reads `button`, after typing into fields, by their names.

        None takes a choice away; a list is for fields of one name.
        """
        self.page = read_page(self.send(button, **typed), status)
        return self.page

    def send(self, button: str, /, **typed: Typed) -> Any:
        """Press a button, and return the answer to it, whatever it is."""
        pressed = self.page.find_with_text("button", button)
        form = self.page.form_of(pressed)
        sent: dict[str, list[str]] = self.page.read_form(form)
        for name, value in typed.items():
            sent.pop(name, None)
            if value is not None:
                sent[name] = [value] if isinstance(value, str) else value
        if "name" in pressed.attributes:
            sent[pressed["name"]] = [pressed.attributes.get("value", "")]
        send = self.client.post if form.get("method") == "post" else self.client.get
        return send(urljoin(self.page.path, form.get("action") or ""), sent, follow=True)


def read_errors(page: Page) -> dict[str, str]:
    """Return what the error summary says, by the id of the field that each line leads to.

    Asserts what holds for every page with errors: the title says so, the summary takes the focus,
    each of its links leads to a field, and the same words stand beside that field, tied to it.
    """
    assert page.title.startswith("Error: ")
    summary = page.main.find(role="alert")
    assert "autofocus" in summary.attributes
    assert summary["tabindex"] == "-1"
    found = {}
    for link in summary.find_all("a"):
        assert link["href"].removeprefix("#") not in ("", link["href"]), f"{link} leads nowhere"
        target = page.by_id(link["href"].removeprefix("#"))
        assert target.tag in _CONTROLS, target
        beside = _describe_invalid(page, target)
        assert any(link.text.endswith(words) for words in beside), (link.text, beside)
        found[target["id"]] = link.text
    assert found
    return found


def _describe_invalid(page: Page, control: Element) -> list[str]:
    """Return what is said of an invalid control, or of the fieldset of an invalid choice."""
    around = [each for each in control.ancestors if each.tag == "fieldset"]
    invalid = [each for each in (control, *around) if each.get("aria-invalid") == "true"]
    assert invalid, f"nothing says that {control} is invalid"
    described = [
        identifier
        for each in invalid
        for identifier in (each.get("aria-describedby") or "").split()
    ]
    return [page.by_id(identifier).text for identifier in described]
