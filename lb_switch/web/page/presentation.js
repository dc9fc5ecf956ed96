// One thing at a time, large: for a room full of people.

import { say } from "./dom.js";
import { stepTime } from "./schedule.js";
import { lastBefore } from "./store.js";
import { travelling } from "./tokens.js";

/**
 * The number of the connection whose packets are shown: the one that is shown already, as long as
 * it has a packet on its way, else the one that set out first.  Null: none; -1 would be nobody's.
 * @param {any} presentation
 * @param {import("./store.js").Store} store
 * @param {number} at
 */
export function presented(presentation, store, at) {
  const underWay = travelling(store, at, null);
  const stays = underWay.some((each) => each.connection === presentation.number)
    || (presentation.number !== null && at < presentation.until && at >= presentation.from);
  if (!stays) {
    const next = underWay.find((each) => each.connection !== null);
    presentation.number = next?.connection ?? null;
    presentation.group = next?.group ?? presentation.group;
    presentation.from = at;
  }
  // A pause between two packets is no end.
  if (underWay.some((each) => each.connection === presentation.number)) presentation.until = at + 2;
  return presentation.number;
}

/**
 * Say in one line what happens to the packet that set out last.
 * @param {Element} parent
 * @param {any[]} packets those that are on their way
 * @param {number} at
 */
export function drawCaption(parent, packets, at) {
  const packet = packets[lastBefore(packets, at, "show")];
  if (!packet) { say(parent, ""); return; }
  let since = at - packet.show;
  let [step] = packet.steps;
  for (const each of packet.steps) {
    step = each;
    if (since < stepTime(each)) break;
    since -= stepTime(each);
  }
  const leg = step.inward ? step.left ?? step.right : step.right ?? step.left;
  const number = packet.number === null ? "" : `#${packet.number} `;
  const why = step.note || packet.why;
  say(parent, `${number}${leg.what}${why ? `: ${why}` : ""}`);
}
