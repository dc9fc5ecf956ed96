// A connection: both legs, its way through the states, its packets, its story.

import { html, reconcile, say } from "./dom.js";
import { button, folded, picture } from "./parts.js";

/** @param {any} app @param {number} number */
export async function connectionPanel(app, number) {
  const connection = await app.source.connection(number);
  if (connection.missing) return { children: [html("p", {}, connection.missing)] };
  /** @type {string[]} */
  const states = connection.states.map((/** @type {any} */ each) => each.state);
  const now = html("p", { role: "status" });
  const packets = html("div", { class: "acts" });
  const way = html("ol", { class: "way" });
  const outdated = button("There is more now: show it", () => app.choose("connection", number));
  outdated.hidden = true;
  let known = 0;
  const children = [
    html("h2", {}, `Connection ${number}`),
    html("p", {}, `${connection.said}.`),
    now,
    html("div", { class: "acts" },
      button("Follow it alone", () => app.follow(number)), outdated),
    html("h3", {}, "Its way through the states"),
    way,
    ...(connection.diagram
      ? [html("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "State diagram" },
        picture(connection.diagram, `State diagram: ${states.join(", then ")}.`))] : []),
    html("h3", {}, "Both legs"),
    html("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "Ladder" },
      html("img", {
        src: app.source.ladder(number),
        alt: `Ladder of connection ${number}: its packets are told in the story below.`,
      })),
    html("h3", {}, "Its packets"),
    packets,
    folded("Its story", connection.story),
  ];
  reconcile(packets, connection.packets.slice(-40), (each) => each,
    (each) => button(`#${each}`, () => app.choose("packet", each)));
  return {
    children,
    update() {
      const row = app.store.connections.get(number);
      const state = row?.state ?? states.at(-1) ?? "";
      say(now, `${row?.said ?? connection.standing}.`);
      /** @type {string[]} */
      const taken = states.at(-1) === state || !state ? states : [...states, state];
      reconcile(way, taken.map((each, index) => [index, each]), (each) => each.join(),
        ([, each]) => html("li", {}, String(each)));
      const { packets: all } = app.store;
      if (known === 0) known = all.length;
      else if (all.slice(Math.min(known, all.length)).some((/** @type {any} */ each) => each.connection === number)) {
        outdated.hidden = false;
      }
      known = Math.max(known, all.length);
    },
  };
}
