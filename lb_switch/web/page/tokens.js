// Packets on their way: where each is at a moment, and what it carries there.

import { shortened, svg } from "./dom.js";
import { CLIENT, SERVER, SWITCH, way } from "./layout.js";
import { duration, INSIDE, LEG, stepTime } from "./schedule.js";
import { lastBefore } from "./store.js";

const NARROWEST = 124;
/** Requests run above the wire, answers below it: they meet, and both can be read. */
const BESIDE = 22;
/** How much higher a packet is with one more line: in the switch it has both its addresses. */
const TALLER = 16;
/** Seconds after which no packet is still on its way. */
const LONGEST = 30;

/**
 * The packets that are on their way at a moment, in the order in which they set out.
 * @param {import("./store.js").Store} store
 * @param {number} at
 * @param {number | null} only the number of the only connection to show
 */
export function travelling(store, at, only) {
  const found = [];
  for (let index = lastBefore(store.shown, at, "show"); index >= 0; index -= 1) {
    const packet = store.shown[index];
    if (packet.show < at - LONGEST) break;
    if (packet.show + duration(packet) < at) continue;
    if (only === null || packet.connection === only) found.push(packet);
  }
  return found.reverse();
}

/**
 * Draw packets.  `stage.tokens` keeps those that are drawn.
 * @param {any} stage
 * @param {any[]} packets
 * @param {number} at
 * @param {{reduced: boolean, isFollowed: boolean, scale: number}} how `scale`: how large they are
 */
export function drawTokens(stage, packets, at, { reduced, isFollowed, scale }) {
  const visible = new Set();
  for (const packet of packets) {
    let since = at - packet.show;
    packet.steps.forEach((/** @type {any} */ step, /** @type {number} */ number) => {
      const token = tokenAt(stage.places, packet, step, since, { reduced, scale });
      since -= stepTime(step);
      if (token === null) return;
      const key = `${packet.show} ${packet.number} ${number}`;
      visible.add(key);
      drawToken(stage, key, packet, token, { isFollowed, scale });
    });
  }
  for (const [key, drawn] of stage.tokens) {
    if (!visible.has(key)) { drawn.element.remove(); stage.tokens.delete(key); }
  }
}

/**
 * Where a packet is, and what it carries there; null: nowhere.
 * @param {import("./layout.js").Layout} places
 * @param {any} packet
 * @param {any} step
 * @param {number} since seconds since the step began
 * @param {{reduced: boolean, scale: number}} how `reduced`: without motion, it stands in the middle of
 *   each part of its way
 */
export function tokenAt(places, packet, step, since, { reduced, scale }) {
  if (since < 0 || since > stepTime(step)) return null;
  const isInward = step.left === null || step.right === null
    ? (step.left ?? step.right).rightwards : step.inward;
  const legs = [["left", step.left], ["right", step.right]].filter(([, leg]) => leg !== null);
  if (!isInward) legs.reverse();
  const [[firstSide, first]] = legs;
  const [lastSide, last] = legs[legs.length - 1];
  const { client, server } = way(places, packet, step);
  const beside = scale * (isInward ? -BESIDE : BESIDE);
  const crosses = legs.length === 2;
  let part = since / LEG;
  let [side, leg] = [firstSide, first];
  let inside = false;
  if (part > 1 && crosses) {
    part = (since - LEG) / INSIDE;
    inside = part <= 1;
    if (!inside) {
      part = (since - LEG - INSIDE) / LEG;
      [side, leg] = [lastSide, last];
    }
  }
  const arrived = part >= 1 && leg.ends;
  part = Math.min(1, part);
  if (reduced) part = arrived ? 1 : 0.5;
  const width = scale * (inside ? widthOf(leg.what, first.address, last.address, last.also)
    : widthOf(leg.what, leg.address, leg.also));
  const levels = isInward ? [client, server] : [server, client];
  let ends = side === "left" ? edges(CLIENT.x + CLIENT.width, SWITCH.x, width)
    : edges(SWITCH.x + SWITCH.width, SERVER.x, width);
  let y = side === "left" ? client : server;
  if (inside) {
    ends = [SWITCH.x - width / 2, SWITCH.x + SWITCH.width + width / 2];
    y = levels[0] + (levels[1] - levels[0]) * part;
  }
  const along = isInward ? part : 1 - part;
  return {
    x: ends[0] + (ends[1] - ends[0]) * along,
    y: y + beside - (isInward ? scale * TALLER * ((inside ? 1 : 0) + ((inside ? last : leg).also ? 1 : 0)) : 0),
    width,
    what: leg.what,
    address: arrived && step.note ? `✗ ${step.note}` : inside ? first.address : leg.address,
    becomes: inside && first.address !== last.address ? last.address : "",
    // Full NAT changes both ends.
    also: inside ? last.also : leg.also,
    kind: leg.ends || leg.what.startsWith("RST") ? "bad"
      : packet.reason === "own" || (packet.verdict === "reply" && step !== packet.steps[0]) ? "own"
        : inside ? "inside" : side === "right" ? "rip" : "vip",
  };
}

/**
 * From the edge of one box to that of another, without covering either.
 * @param {number} from
 * @param {number} to
 * @param {number} width of the token
 */
function edges(from, to, width) {
  const half = Math.min(width / 2 + 4, (to - from) / 2);
  return [from + half, to - half];
}

/** @param {string} what @param {...string} addresses */
function widthOf(what, ...addresses) {
  const longest = Math.max(...addresses.map((each) => Math.min(34, each.length)));
  return Math.max(NARROWEST, 7.4 * longest + 14, 6.8 * Math.min(22, what.length) + 14);
}

/**
 * @param {any} stage
 * @param {string} key
 * @param {any} packet
 * @param {NonNullable<ReturnType<typeof tokenAt>>} token
 * @param {{isFollowed: boolean, scale: number}} how
 */
function drawToken(stage, key, packet, token, { isFollowed, scale }) {
  let drawn = stage.tokens.get(key);
  if (drawn === undefined) {
    drawn = makeToken(stage, packet);
    stage.tokens.set(key, drawn);
  }
  const now = `${token.what}|${token.address}|${token.becomes}|${token.also}|${token.kind}|${isFollowed}`;
  if (drawn.now !== now) {
    drawn.now = now;
    const wide = Math.max(token.width / scale, 7.4 * Math.min(34, token.address.length) + 14);
    drawn.what.textContent = shortened(token.what, 22);
    drawn.address.textContent = shortened(token.address, 34);
    drawn.becomes.textContent = token.becomes && `→ ${shortened(token.becomes, 34)}`;
    const arrow = token.becomes ? "→ " : "";
    drawn.also.textContent = token.also && `${arrow}${shortened(token.also, 34)}`;
    drawn.also.setAttribute("y", token.becomes ? 45 : 29);
    drawn.box.setAttribute("width", wide);
    drawn.box.setAttribute("x", -wide / 2);
    drawn.box.setAttribute("height", 40 + (token.becomes ? TALLER : 0) + (token.also ? TALLER : 0));
    drawn.element.setAttribute("class", `token clickable ${token.kind} ${token.becomes ? "changing" : ""}`
      + `${isFollowed ? " followed" : ""}`);
  }
  drawn.element.setAttribute("transform", `translate(${token.x.toFixed(1)} ${token.y.toFixed(1)})`
    + (scale === 1 ? "" : ` scale(${scale})`));
}

/** @param {any} stage @param {any} packet */
function makeToken(stage, packet) {
  const what = svg("text", { class: "what", y: -4, "text-anchor": "middle" });
  const address = svg("text", { class: "address", y: 13, "text-anchor": "middle" });
  const becomes = svg("text", { class: "address becomes", y: 29, "text-anchor": "middle" });
  const box = svg("rect", { y: -20, rx: 8 });
  const also = svg("text", { class: "address becomes", "text-anchor": "middle" });
  const element = svg("g", {}, box, what, address, becomes, also);
  element.addEventListener("click", () => {
    if (packet.number !== null) stage.choose("packet", packet.number);
    else if (packet.connection !== null) stage.choose("connection", packet.connection);
  });
  stage.front.append(element);
  return { element, box, what, address, becomes, also, now: "" };
}
