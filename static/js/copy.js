// Buttons marked data-copy copy that text and say so. Where the browser refuses, the text next to the
// button is selected, ready to be copied by hand. Without this script, the buttons are not shown.
const said = document.createElement("p");
said.className = "visually-hidden";
said.setAttribute("role", "status");

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const isCopied = await copy(button.dataset.copy);
  if (!isCopied) selectText(button.previousElementSibling);
  report(button, isCopied);
});

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain HTTP there is no clipboard to write to.
    return false;
  }
}

function selectText(element) {
  if (!element) return;
  if (element.matches("input, textarea")) element.select();
  else getSelection().selectAllChildren(element);
}

function report(button, isCopied) {
  const words = isCopied ? "Copied" : "Press Ctrl+C or ⌘C to copy";
  // A dialog hides what is outside of it from screen readers. They read what comes into an element
  // that is already there.
  (button.closest("dialog") ?? document.body).append(said);
  said.textContent = "";
  setTimeout(() => { said.textContent = words; }, 100);
  button.dataset.said = words;
  setTimeout(() => { delete button.dataset.said; }, 2000);
}
