// Packets and news as lists: everything on the picture can be reached here, by keyboard too.

import { html } from "./svg.js";

const LINES = 60;

/** Draw the packets before a moment, the newest first.  `chosen`: the number of the shown one. */
export function drawPackets(parent, store, at, chosen, followed, choose) {
  const lines = [];
  for (let index = store.packets.length - 1; index >= 0 && lines.length < LINES; index -= 1) {
    const packet = store.packets[index];
    const seen = packet.show ?? packet.at;
    if (seen > at || packet.steps.length === 0) continue;
    if (followed !== null && packet.connection !== followed) continue;
    lines.push(html("li", {}, line(packet, chosen, choose)));
  }
  const focused = document.activeElement?.dataset?.packet;
  parent.replaceChildren(...lines);
  if (focused) parent.querySelector(`[data-packet="${CSS.escape(focused)}"]`)?.focus();
}

function line(packet, chosen, choose) {
  const step = packet.steps[0];
  const leg = step.inward ? step.left ?? step.right : step.right ?? step.left;
  const way = step.inward ? `${step.client} → ${step.server || "switch"}` : `${step.server || "switch"} → ${step.client}`;
  const bad = leg.ends || leg.what.startsWith("RST");
  const number = packet.number === null ? "own" : `#${packet.number}`;
  const words = `${number} ${leg.what}  ${way}${step.note ? `  (${step.note})` : ""}`;
  return html("button", {
    class: `${bad ? "bad" : ""} ${packet.number === chosen ? "chosen" : ""}`,
    "data-packet": packet.number,
    click: () => (packet.number === null
      ? choose("connection", packet.connection) : choose("packet", packet.number)),
  }, words);
}

/** Draw what has happened before a moment, the newest first. */
export function drawNews(parent, store, at) {
  const news = store.news.filter((each) => each.at <= at).slice(-LINES).reverse();
  parent.replaceChildren(...news.map((each) => html("li", {}, each.text)));
}
