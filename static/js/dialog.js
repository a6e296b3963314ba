// Show the page behind a link marked data-dialog as a dialog over this one. Without this script, or
// where anything goes wrong, the link is a link.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-dialog]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  try {
    const response = await fetch(link.href, { redirect: "error" });
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const content = page.getElementById("dialog");
    if (!response.ok || !content) throw new Error("not a dialog");
    openDialog(content, link);
  } catch {
    window.location.assign(link.href);
  }
});

function openDialog(content, link) {
  const dialog = document.createElement("dialog");
  const heading = content.querySelector("h1");
  heading.id = "dialog-heading";
  dialog.setAttribute("aria-labelledby", heading.id);
  dialog.append(...content.childNodes);
  dialog.querySelector("[data-close]").addEventListener("click", (event) => {
    event.preventDefault();
    dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    returnFocus(link);
  });
  document.body.append(dialog);
  dialog.showModal();
  chooseField(dialog).focus();
}

function chooseField(dialog) {
  return dialog.querySelector("input[type=radio]:checked, input:not([type=hidden]), textarea, select")
    ?? dialog.querySelector("[data-close]");
}

// A link in a menu is hidden once the menu has closed: its button takes the focus then.
function returnFocus(link) {
  const menu = link.closest("[popover]");
  const opener = menu && document.querySelector(`[popovertarget="${menu.id}"]`);
  (menu && !menu.matches(":popover-open") && opener ? opener : link).focus();
}
