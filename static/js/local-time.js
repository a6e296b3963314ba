// Say in each time's title what time it is where the reader is. What is shown stays UTC.
const localTime = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
addTitles(document);
document.addEventListener("htmx:load", (event) => addTitles(event.target));

function addTitles(root) {
  for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
    time.dataset.local = "";
    time.title = `${time.title} = ${localTime.format(new Date(time.dateTime))}`;
  }
}
