// Parts that several panels have.

import { html, say } from "./dom.js";

/** @param {string} title @param {string[]} lines */
export function folded(title, lines) {
  return html("details", {}, html("summary", {}, title), html("pre", { tabindex: 0 }, lines.join("\n")));
}

/**
 * A table of names and values; `set` puts other values in.
 * @param {string[]} names
 */
export function facts(names) {
  const cells = names.map(() => html("td", {}));
  const table = html("table", {}, html("tbody", {}, ...names.map((name, index) =>
    html("tr", {}, html("th", { scope: "row" }, name), cells[index]))));
  return {
    table,
    /** @param {string[]} values */
    set(values) { values.forEach((value, index) => say(cells[index], value)); },
  };
}

/**
 * A picture that was drawn as an SVG document.
 * @param {string} drawing
 * @param {string} words what it shows
 */
export function picture(drawing, words) {
  return html("img", { src: `data:image/svg+xml,${encodeURIComponent(drawing)}`, alt: words });
}

/**
 * Buttons and fields that act, and the line that says what came of it.  `does` is given to each
 * button that `acts` makes; what it answers is said: `{done: [...]}` or `{refused: "..."}`.
 * @param {string} title
 * @param {(act: (button: Promise<any>) => Promise<void>) => Node[]} acts
 */
export function actions(title, acts) {
  const said = html("p", { role: "status", class: "said" });
  const act = async (/** @type {Promise<any>} */ asked) => {
    said.className = "said";
    say(said, "…");
    const answer = await asked.catch(() => ({ refused: "lb-switch web does not answer" }));
    said.className = answer.refused ? "said refused" : "said";
    const done = answer.done?.length ? answer.done.join("\n") : "It was so already.";
    say(said, answer.refused ? [answer.refused, ...(answer.details ?? [])].join("\n") : done);
  };
  return [html("h3", {}, title), html("div", { class: "acts" }, ...acts(act)), said];
}

/** @param {string} words @param {() => void} click */
export function button(words, click) {
  return html("button", { type: "button", click }, words);
}

/**
 * A list in which one thing is chosen.
 * @param {string} label
 * @param {string[]} names
 * @param {string} [chosen]
 */
export function choice(label, names, chosen) {
  return html("select", { "aria-label": label }, ...names.map((name) =>
    html("option", { value: name, selected: name === chosen }, name)));
}
