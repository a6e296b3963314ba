"""What the pattern tester is sent, and how its answers are read."""

from tests.page import Browser, Element, Page, parse

SETTINGS = "/acme/settings/packages/containers/"
TEST = "/acme/settings/packages/containers/test/"
SIGNATURE_TAG = "sha256-" + "0" * 64 + ".sig"

Typed = str | list[str]


def send(browser: Browser, tags: str, protection: str = "some", /, **typed: Typed) -> Page:
    """Send what the page's script sends, and return the fragment that comes back."""
    sent = {"version": "0", "sample_tags": tags, "protection": protection, **typed}
    response = browser.client.post(TEST, sent, headers={"HX-Request": "true"})
    assert response.status_code == 200
    return parse(response.content.decode())


def send_rule(browser: Browser, tags: str, pattern: str, protection: str = "some") -> Page:
    """Try one rule."""
    return send(browser, tags, protection, rule_name="Mine", rule_pattern=pattern)


def answers_of(fragment: Element) -> dict[str, str]:
    """Return the answer for each sample tag."""
    answers: dict[str, str] = {}
    for place, answer in (
        ("tried-locked", "locked"),
        ("tried-mutable", "mutable"),
        ("tried-invalid", "no tag"),
    ):
        for column in fragment.find_all("ul", id=place):
            answers |= {item.find("code").text: answer for item in column.find_all("li")}
    return answers


def read_reasons(fragment: Element) -> dict[str, str]:
    """Return what stands behind each sample tag: what decides, and what did."""
    return {
        item.find("code").text: " ".join(each.text for each in item.find_all("span")[:1])
        for item in fragment.find_all("li")
    }


def read_reason(fragment: Element) -> str:
    """Return what stands behind the only sample tag."""
    [reason] = read_reasons(fragment).values()
    return reason


def read_hints(fragment: Element) -> list[str]:
    return [each.text for each in fragment.find_all(class_="advice")]
