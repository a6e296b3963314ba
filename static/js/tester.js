// Where an answer of the live tester does not come, say so in its place.
document.addEventListener("DOMContentLoaded", () => {
  const result = document.getElementById("tester-result");
  const explain = (message) => {
    const line = document.createElement("p");
    line.className = "error";
    line.textContent = message;
    result.replaceChildren(line);
  };
  document.body.addEventListener("htmx:sendError", () =>
    explain("Taglock cannot be reached. What you typed is still here; try again in a moment."));
  document.body.addEventListener("htmx:responseError", (event) =>
    explain(`Taglock answered with an error (${event.detail.xhr.status}). What you typed is still here; try again.`));
});
