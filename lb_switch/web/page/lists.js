// Packets and news as lists: everything on the picture can be reached here, by keyboard too.

import { html, mark, reconcile, say } from "./dom.js";
import { called } from "./places.js";
import { lastBefore, sceneAt } from "./store.js";

const LINES = 60;

/**
 * Draw the packets before a moment, the newest first.
 * @param {Element} parent
 * @param {import("./store.js").Store} store
 * @param {number} at
 * @param {{chosen: number | null, followed: number | null, choose: Function}} how `chosen`: the
 *   number of the packet that is shown
 */
export function drawPackets(parent, store, at, { chosen, followed, choose }) {
  const lines = [];
  for (let index = lastBefore(store.packets, at); index >= 0 && lines.length < LINES; index -= 1) {
    const packet = store.packets[index];
    if ((packet.show ?? 0) > at || packet.steps.length === 0) continue;
    if (followed !== null && packet.connection !== followed) continue;
    lines.push(packet);
  }
  const scene = sceneAt(store, at);
  reconcile(parent, lines, (packet) => packet, (packet) => line(packet, scene, choose), (element, packet) => {
    mark(element.firstChild, "aria-pressed", String(packet.number !== null && packet.number === chosen));
  });
}

/** @param {any} packet @param {any} scene @param {Function} choose */
function line(packet, scene, choose) {
  const [step] = packet.steps;
  const leg = step.inward ? step.left ?? step.right : step.right ?? step.left;
  const client = called(scene, step.client);
  const server = step.server ? called(scene, step.server) : "real server";
  const ends = [step.left ? client : "switch", step.right ? server : "switch"];
  if (!leg.rightwards) ends.reverse();
  const bad = leg.ends || leg.what.startsWith("RST");
  const number = packet.number === null ? "own" : `#${packet.number}`;
  const words = `${number} ${leg.what}  ${ends.join(" → ")}${step.note ? `  (${step.note})` : ""}`;
  return html("li", {}, html("button", {
    class: bad ? "bad" : "",
    "data-packet": packet.number,
    click: () => (packet.number === null
      ? choose("connection", packet.connection) : choose("packet", packet.number)),
  }, words));
}

/**
 * Draw what has happened before a moment, the newest first.
 * @param {Element} parent
 * @param {import("./store.js").Store} store
 * @param {number} at
 */
export function drawNews(parent, store, at) {
  const news = store.news.slice(0, lastBefore(store.news, at) + 1).slice(-LINES).reverse();
  reconcile(parent, news, (each) => each, (each) => html("li", {}, each.text));
  say(/** @type {Element} */ (parent.nextElementSibling), news.length ? "" : "Nothing yet.");
}
