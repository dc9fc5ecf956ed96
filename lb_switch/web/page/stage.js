// The picture: clients, the switch, the real servers, and packets on their way between them.

import { addressOf, duration, LEG, sceneAt } from "./store.js";
import { shortened, svg } from "./svg.js";

const WIDTH = 1280;
const CLIENT = { x: 30, width: 230, height: 58 };
const SWITCH = { x: 545, width: 190 };
const SERVER = { x: 1000, width: 250, height: 62 };
const TOP = 20;
const MOST_CLIENTS = 7;
const TOKEN = { width: 172, height: 40 };

/** @param choose what to do when a thing is chosen: `choose(kind, name)` */
export function makeStage(parent, store, choose) {
  const back = svg("g");
  const front = svg("g");
  const root = svg("svg", { role: "group", "aria-label": "The network" }, back, front);
  parent.append(root);
  const stage = { store, choose, root, back, front, tokens: new Map(), drawn: null, places: null };
  return stage;
}

/** Draw a moment.  `followed`: the number of the only connection to show, or null. */
export function drawStage(stage, at, followed, reduced) {
  const scene = sceneAt(stage.store, at);
  if (scene === null) return;
  const clients = clientsOf(stage.store, scene);
  const key = `${scene.at} ${clients.join()}`;
  if (stage.drawn !== scene || stage.key !== key) {
    stage.drawn = scene;
    stage.key = key;
    drawNetwork(stage, scene, clients);
  }
  drawTokens(stage, at, followed, reduced);
}

/** Clients by address: machines with a name that are nobody's server, then who has spoken last. */
function clientsOf(store, scene) {
  const taken = new Set();
  for (const group of scene.groups) {
    taken.add(addressOf(group.address));
    for (const server of group.real_servers) taken.add(addressOf(server.address));
  }
  const clients = Object.keys(scene.hosts).filter((address) => !taken.has(address));
  const seen = new Set(clients);
  for (let index = store.packets.length - 1; index >= 0 && seen.size < 40; index -= 1) {
    const address = addressOf(store.packets[index].steps[0]?.client ?? "");
    if (address && address !== "?" && !taken.has(address) && !seen.has(address)) {
      seen.add(address);
      clients.push(address);
    }
    if (store.packets.length - index > 500) break;
  }
  // Two addresses of one machine are one machine.
  const names = new Set();
  return clients.filter((address) => {
    const name = scene.hosts[address] ?? address;
    if (names.has(name) || name === "switch") return false;
    names.add(name);
    return true;
  });
}

function drawNetwork(stage, scene, clients) {
  const focused = document.activeElement?.getAttribute?.("data-key");
  const { back } = stage;
  back.replaceChildren();
  const rows = scene.groups.reduce((sum, group) => sum + group.real_servers.length, 0);
  const shownClients = clients.slice(0, MOST_CLIENTS);
  const serversHeight = rows * (SERVER.height + 10) + scene.groups.length * 34;
  const height = Math.max(
    300, serversHeight + 2 * TOP, shownClients.length * (CLIENT.height + 16) + 2 * TOP + 20,
  );
  stage.root.setAttribute("viewBox", `0 0 ${WIDTH} ${height}`);
  const middle = height / 2;
  const places = { clients: new Map(), servers: new Map(), middle, height };
  const wires = svg("g");
  back.append(wires);

  let y = middle - (shownClients.length * (CLIENT.height + 16) - 16) / 2;
  for (const address of shownClients) {
    const name = scene.hosts[address] ?? "client";
    places.clients.set(name, y + CLIENT.height / 2).set(address, y + CLIENT.height / 2);
    for (const [other, otherName] of Object.entries(scene.hosts)) {
      if (otherName === name) places.clients.set(other, y + CLIENT.height / 2);
    }
    wires.append(wire(CLIENT.x + CLIENT.width, y + CLIENT.height / 2, SWITCH.x, middle));
    back.append(svg("g", {},
      svg("rect", { class: "box", x: CLIENT.x, y, width: CLIENT.width, height: CLIENT.height, rx: 8 }),
      text(CLIENT.x + 14, y + 24, name, "name"),
      text(CLIENT.x + 14, y + 44, address, "mono")));
    y += CLIENT.height + 16;
  }
  if (clients.length > shownClients.length) {
    back.append(text(CLIENT.x, y + 6, `and ${clients.length - shownClients.length} more clients`, "quiet"));
  }

  back.append(svg("g", {},
    svg("rect", { class: "switch", x: SWITCH.x, y: TOP, width: SWITCH.width, height: height - 2 * TOP, rx: 12 }),
    text(SWITCH.x + SWITCH.width / 2, TOP + 26, "lb-switch", "heading", "middle")));

  y = Math.max(TOP, middle - serversHeight / 2);
  let label = TOP + 54;
  for (const group of scene.groups) {
    back.append(text(SWITCH.x + SWITCH.width / 2, label, shortened(group.name, 22), "name", "middle"));
    back.append(text(SWITCH.x + SWITCH.width / 2, label + 18, shortened(group.address, 24), "mono", "middle"));
    label += 46;
    const heading = `${shortened(group.name, 20)}: ${group.scheduler}, ${group.protocol}`;
    back.append(text(SERVER.x, y + 20, heading, "heading"));
    y += 30;
    for (const server of group.real_servers) {
      places.servers.set(`${group.name} ${server.address}`, y + SERVER.height / 2);
      if (!places.servers.has(server.address)) places.servers.set(server.address, y + SERVER.height / 2);
      wires.append(wire(SWITCH.x + SWITCH.width, middle, SERVER.x, y + SERVER.height / 2));
      back.append(serverBox(stage, group, server, y));
      y += SERVER.height + 10;
    }
  }
  stage.places = places;
  if (focused) back.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** The health and the operator's wish, in a class, a sign and a word. */
export function conditionOf(server) {
  if (!server.healthy) return ["down", "▼ down"];
  if (server.state !== "ready") return ["paused", `◼ ${server.state}`];
  if (server.weight === 0) return ["paused", "◼ weight 0"];
  return ["up", "▲ up"];
}

function serverBox(stage, group, server, y) {
  const [condition, word] = conditionOf(server);
  const key = `${group.name} ${server.address}`;
  const label = `${server.name || server.address}, ${word.slice(2)}, weight ${server.weight}, `
    + `${server.active} active connections`;
  const box = svg("g", {
    class: "clickable", tabindex: 0, role: "button", "aria-label": label, "data-key": key,
  },
  svg("rect", { class: `box ${condition}`, x: SERVER.x, y, width: SERVER.width, height: SERVER.height, rx: 8 }),
  text(SERVER.x + 12, y + 22, server.name || "real server", "name"),
  text(SERVER.x + SERVER.width - 12, y + 22, word, condition, "end"),
  text(SERVER.x + 12, y + 40, shortened(server.address, 28), "mono"),
  text(SERVER.x + 12, y + 56, `weight ${server.weight}`, "quiet"),
  text(SERVER.x + SERVER.width - 12, y + 56, `${server.active} active`, "quiet", "end"));
  const choose = () => stage.choose("server", key);
  box.addEventListener("click", choose);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); event.stopPropagation(); choose(); }
  });
  return box;
}

function wire(x1, y1, x2, y2) {
  const bend = (x1 + x2) / 2;
  return svg("path", { class: "wire", d: `M${x1} ${y1}C${bend} ${y1} ${bend} ${y2} ${x2} ${y2}` });
}

function text(x, y, words, kind, anchor = "start") {
  return svg("text", { x, y, class: kind, "text-anchor": anchor }, words);
}

// -- packets on their way ------------------------------------------------------------------------

function drawTokens(stage, at, followed, reduced) {
  const visible = new Set();
  const { packets } = stage.store;
  for (let index = packets.length - 1; index >= 0; index -= 1) {
    const packet = packets[index];
    if (packet.at < at - 30 && (packet.show === null || packet.show < at - 30)) break;
    if (packet.show === null || packet.show > at || packet.show + duration(packet) < at) continue;
    if (followed !== null && packet.connection !== followed) continue;
    packet.steps.forEach((step, number) => {
      const since = at - packet.show - number * 2 * LEG;
      const token = tokenAt(stage, packet, step, since, reduced);
      if (token === null) return;
      const key = `${packet.at} ${packet.number} ${number}`;
      visible.add(key);
      drawToken(stage, key, packet, token, followed !== null);
    });
  }
  for (const [key, drawn] of stage.tokens) {
    if (!visible.has(key)) { drawn.element.remove(); stage.tokens.delete(key); }
  }
}

/** Where a packet is, and what it carries there; null: nowhere. */
function tokenAt(stage, packet, step, since, reduced) {
  if (since < 0) return null;
  const legs = step.inward || step.left === null || step.right === null
    ? [["left", step.left], ["right", step.right]] : [["right", step.right], ["left", step.left]];
  const going = legs.filter(([, leg]) => leg !== null);
  const index = Math.floor(since / LEG);
  const last = going.length - 1;
  if (last < 0) return null;
  const ends = going[last][1].ends;
  if (index > last && !(ends && since < (last + 1) * LEG + 1)) return null;
  const [side, leg] = going[Math.min(index, last)];
  let part = index > last ? 1 : since / LEG - index;
  if (reduced) part = ends ? 1 : 0.5;
  const [from, to] = legEnds(stage, packet, step, side, leg.rightwards);
  return {
    x: from.x + (to.x - from.x) * part,
    y: from.y + (to.y - from.y) * part,
    what: leg.what,
    address: ends && index >= last && part > 0.9 ? `✗ ${step.note}` : leg.address,
    kind: ends || leg.what.startsWith("RST") ? "bad"
      : packet.reason === "own" || (packet.verdict === "reply" && step !== packet.steps[0]) ? "own"
      : side === "right" ? "rip" : "vip",
  };
}

function legEnds(stage, packet, step, side, rightwards) {
  const { clients, servers, middle } = stage.places;
  const client = clients.get(step.clientName) ?? clients.get(addressOf(step.client)) ?? middle;
  const server = servers.get(`${packet.group} ${step.server}`) ?? servers.get(step.server) ?? middle;
  const left = side === "left"
    ? [{ x: CLIENT.x + CLIENT.width, y: client }, { x: SWITCH.x, y: middle }]
    : [{ x: SWITCH.x + SWITCH.width, y: middle }, { x: SERVER.x, y: server }];
  return rightwards ? left : left.reverse();
}

function drawToken(stage, key, packet, token, isFollowed) {
  let drawn = stage.tokens.get(key);
  if (drawn === undefined) {
    const what = svg("text", { class: "what", x: 0, y: -4, "text-anchor": "middle" });
    const address = svg("text", { class: "address", x: 0, y: 13, "text-anchor": "middle" });
    const box = svg("rect", { height: TOKEN.height, y: -TOKEN.height / 2, rx: 8 });
    const element = svg("g", {}, box, what, address);
    element.addEventListener("click", () => {
      if (packet.number !== null) stage.choose("packet", packet.number);
      else if (packet.connection !== null) stage.choose("connection", packet.connection);
    });
    stage.front.append(element);
    drawn = { element, box, what, address, now: "" };
    stage.tokens.set(key, drawn);
  }
  const now = `${token.what}|${token.address}|${token.kind}|${isFollowed}`;
  if (drawn.now !== now) {
    drawn.now = now;
    drawn.what.textContent = shortened(token.what, 24);
    drawn.address.textContent = shortened(token.address, 34);
    const width = Math.max(TOKEN.width, 7.6 * drawn.address.textContent.length + 16);
    drawn.box.setAttribute("width", width);
    drawn.box.setAttribute("x", -width / 2);
    drawn.element.setAttribute("class", `token clickable ${token.kind} ${isFollowed ? "followed" : ""}`);
  }
  drawn.element.setAttribute("transform", `translate(${token.x.toFixed(1)} ${token.y.toFixed(1)})`);
}
