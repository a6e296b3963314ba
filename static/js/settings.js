// Container settings: nothing typed gets lost, and an answer that does not come is told in its place.
const form = document.getElementById("settings-form");
const find = (id) => document.getElementById(id);

// The server says what is not saved. Until it has answered, what is typed counts as not saved.
let isTyped = false;
let mayLeave = false;
form.addEventListener("input", (event) => {
  if (event.target.id !== "sample-tags") isTyped = true;
});
document.body.addEventListener("htmx:afterSwap", ({ detail }) => {
  // What a save before this one has said is no longer so.
  if (detail.target.id === "settings") document.querySelector("main > .banner")?.remove();
});
document.body.addEventListener("htmx:afterSettle", ({ detail }) => {
  if (detail.target.id === "tester-result") isTyped = false;
});
window.addEventListener("beforeunload", (event) => {
  if (mayLeave || !(isTyped || document.querySelector("#unsaved .unsaved-dot"))) return;
  event.preventDefault();
});
form.addEventListener("submit", (event) => {
  mayLeave = !event.submitter?.hasAttribute("formtarget");
});
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-discard]")) mayLeave = true;
});
window.addEventListener("pageshow", () => { mayLeave = false; });

// Where saving is refused, the answer is the page with what is wrong.
document.body.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.xhr.status === 409 || detail.xhr.status === 422) {
    detail.shouldSwap = true;
    detail.isError = false;
  }
});
document.body.addEventListener("htmx:beforeOnLoad", ({ detail }) => {
  if (detail.xhr.getResponseHeader("HX-Redirect")) mayLeave = true;
});

function explain(target, message) {
  const line = document.createElement("p");
  line.className = "error";
  line.textContent = message;
  if (target.id === "preview" || target.id === "tester-result") target.replaceChildren(line);
  else find("save-problem").textContent = message;
  if (isTyped) showUnsaved();
}
// The server would say what of it is.
function showUnsaved() {
  const dot = document.createElement("span");
  dot.className = "unsaved-dot";
  const line = document.createElement("strong");
  line.textContent = "Unsaved changes";
  find("unsaved").replaceChildren(dot, line);
}
document.body.addEventListener("htmx:sendError", ({ detail }) =>
  explain(detail.target, "Taglock cannot be reached. What you typed is still here; try again in a moment."));
document.body.addEventListener("htmx:responseError", ({ detail }) =>
  explain(detail.target, detail.xhr.status === 401
    ? "You are signed out. What you typed is still here: save it, and sign in again."
    : `Taglock answered with an error (${detail.xhr.status}). What you typed is still here; try again.`));
document.body.addEventListener("htmx:beforeRequest", ({ detail }) => {
  if (detail.elt.name === "action") find("save-problem").textContent = "";
});
