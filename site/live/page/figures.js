// What the data folder tells of the reader: its sentences, its word error rates, its licenses.

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

const percent = (rate) => `${(100 * rate).toFixed(1)} %`;

export async function fetchAbout(data) {
  const response = await fetch(new URL("about.json", data));
  if (!response.ok) throw new Error(`${response.url}: ${response.status}`);
  return response.json();
}

// The words of each slot of a sentence, as columns.
export function showSlots({ slots, slot_names: names }, into) {
  into.className = "live live-slots";
  into.replaceChildren(
    ...slots.map((words, i) => {
      const list = element("ul", ...words.map((word) => element("li", word)));
      if (words.length > 10) list.className = "live-letters";
      return element("div", element("h3", names[i]), list);
    }),
  );
}

function row(name, { greedy, grammar }) {
  const head = element("th", name);
  head.scope = "row";
  return element("tr", head, element("td", percent(greedy)), element("td", percent(grammar)));
}

// Word error rates as tools/live.py takes them from the model's results.
export function showCard({ never_seen: strangers, webcam }, into) {
  const big = (rate, text) => {
    const made = element("p", element("b", percent(rate)), ` ${text}`);
    made.className = "live-big";
    return made;
  };
  const heads = ["what was done to the videos", "letters alone", "with the grammar"].map((text) => {
    const head = element("th", text);
    head.scope = "col";
    return head;
  });
  const table = element("table",
    element("thead", element("tr", ...heads)),
    element("tbody", ...Object.entries(webcam).map(([name, rates]) => row(name, rates))));
  table.className = "table";
  into.className = "live";
  into.replaceChildren(
    element("p", `Words read wrongly, of ${strangers.people} people whom it never saw (${strangers.clips} sentences, ` +
      `${6 * strangers.clips} words):`),
    big(strangers.greedy, "letters alone"),
    big(strangers.grammar, "with the grammar"),
    element("details", element("summary", "As a webcam might record them"),
      element("p", "The same people, their whole faces changed in one way and encoded anew."), table),
  );
}

export async function showLicenses({ licenses }, data, into) {
  const text = await (await fetch(new URL(licenses, data))).text();
  const lines = element("pre", text.trim());
  lines.tabIndex = 0;
  into.className = "live live-licenses";
  into.replaceChildren(element("details", element("summary", "Licenses of what is loaded"), lines));
}
