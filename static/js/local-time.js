// Say in each time's title what time it is where the reader is. What is shown stays UTC.
const shown = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
for (const time of document.querySelectorAll("time[datetime]")) {
  time.title = `${time.title} = ${shown.format(new Date(time.dateTime))}`;
}
