"""The keyboard alone: what a person does who uses no mouse."""

from playwright.sync_api import Locator

# No page has more that takes the focus before what a test looks for.
MAX_TABS = 300
_HAS_FOCUS = "element => element === document.activeElement"


def tab_to(target: Locator) -> None:
    """Press Tab until this has the focus."""
    target.wait_for(state="attached")
    for _ in range(MAX_TABS):
        target.page.keyboard.press("Tab")
        if target.evaluate(_HAS_FOCUS):
            return
    raise AssertionError(f"Tab does not come to {target}")


def press(target: Locator, key: str = "Enter") -> None:
    """Go there and press it: Enter for links and buttons, Space for checkboxes."""
    tab_to(target)
    target.page.keyboard.press(key)


def type_into(target: Locator, text: str) -> None:
    """Go to a field and type into it, in place of what it has."""
    tab_to(target)
    target.page.keyboard.press("Control+a")
    target.page.keyboard.type(text)


def choose(radio: Locator) -> None:
    """Go to the group of a radio button, and on to it by the arrow."""
    name = radio.get_attribute("name")
    for _ in range(MAX_TABS):
        radio.page.keyboard.press("Tab")
        if radio.page.evaluate("document.activeElement.name") == name:
            break
    while not radio.is_checked():
        radio.page.keyboard.press("ArrowDown")
