// The picture: clients, the switch, the real servers, and packets on their way between them.

import { mark, reconcile, say, shortened, svg } from "./dom.js";
import { CLIENT, clientsOf, layout, SERVER, SWITCH, TOP } from "./layout.js";
import { called } from "./places.js";
import { sceneAt } from "./store.js";
import { drawTokens, travelling } from "./tokens.js";

/**
 * @param {Element} parent
 * @param {import("./store.js").Store} store
 * @param {(kind: string, name: any) => void} choose what to do when a thing is chosen
 */
export function makeStage(parent, store, choose) {
  const wires = svg("g");
  const fixed = svg("g");
  const clients = svg("g");
  const groups = svg("g");
  const servers = svg("g");
  const front = svg("g");
  const root = svg("svg", { role: "group", "aria-label": "The network" },
    wires, fixed, clients, groups, servers, front);
  parent.append(root);
  return {
    store, choose, root, wires, fixed, clients, groups, servers, front,
    tokens: new Map(), scene: null, key: "", places: layout({ groups: [], hosts: {} }, []),
  };
}

/**
 * Draw a moment.
 * @param {ReturnType<typeof makeStage>} stage
 * @param {number} at
 * @param {{only: number | null, group: string | null, reduced: boolean, isFollowed: boolean,
 *   scale: number}} how `only`: the number of the only connection to show, `group`: the name of the
 *   only virtual server
 */
export function drawStage(stage, at, how) {
  const scene = sceneAt(stage.store, at);
  if (scene === null) return [];
  // Frames are many, news are few.
  const key = `${stage.store.version} ${how.group}`;
  if (stage.scene !== scene || stage.key !== key) {
    stage.scene = scene;
    stage.key = key;
    const clients = clientsOf(scene, stage.store.packets);
    const groups = scene.groups.filter((/** @type {any} */ each) =>
      how.group === null || each.name === how.group);
    const drawn = groups.length ? { ...scene, groups } : scene;
    stage.places = layout(drawn, clients);
    drawNetwork(stage, drawn);
  }
  const packets = travelling(stage.store, at, how.only);
  drawTokens(stage, packets, at, how);
  return packets;
}

/** @param {any} stage @param {any} scene */
function drawNetwork(stage, scene) {
  const { places } = stage;
  mark(stage.root, "viewBox", `0 0 ${places.width} ${places.height}`);
  drawWires(stage);
  drawFixed(stage);
  reconcile(stage.clients, places.clients, (each) => each.address,
    (each) => makeClient(stage, each),
    (box, each) => {
      mark(box, "transform", `translate(${CLIENT.x} ${each.y})`);
      say(box.parts.name, shortened(each.name, 20));
    });
  reconcile(stage.groups, places.groups, ({ group }) => group.name,
    ({ group }) => makeGroup(stage, group),
    (box, { group, y }) => {
      mark(box, "transform", `translate(0 ${y})`);
      say(box.parts.heading, shortened(`${group.name}: ${group.scheduler}, ${group.protocol}`, 28));
      say(box.parts.name, shortened(group.name, 24));
      say(box.parts.vip, shortened(group.address, 26));
      mark(box.parts.button, "aria-label",
        `virtual server ${group.name}, ${group.address}, scheduler ${group.scheduler}`);
    });
  reconcile(stage.servers, places.servers, (each) => `${places.tall} ${each.key}`,
    (each) => makeServer(stage, each.key), (box, each) => updateServer(stage, box, each, scene));
}

/** @param {any} stage */
function drawWires(stage) {
  const { places } = stage;
  const lines = [
    ...places.clients.map((/** @type {any} */ each) =>
      [CLIENT.x + CLIENT.width, SWITCH.x, each.y + CLIENT.height / 2]),
    ...places.servers.map((/** @type {any} */ each) =>
      [SWITCH.x + SWITCH.width, SERVER.x, each.y + places.tall / 2]),
  ];
  reconcile(stage.wires, lines, (each) => each.join(),
    ([from, to, y]) => svg("line", { class: "wire", x1: from, y1: y, x2: to, y2: y }));
}

/** @param {any} stage */
function drawFixed(stage) {
  const { places } = stage;
  const bottom = places.height - TOP;
  const more = [
    [CLIENT.x, places.moreClients, "more clients"],
    [SERVER.x, places.moreServers, "more real servers"],
  ].filter(([, count]) => count > 0);
  const things = [["switch", places.height], ...more];
  reconcile(stage.fixed, things, (each) => each.join(), ([x, count, words]) => (x === "switch"
    ? svg("rect", {
      class: "switch", x: SWITCH.x, y: TOP - 6, width: SWITCH.width, height: count - 2 * TOP + 12, rx: 12,
    })
    : text(x, bottom, `and ${count} ${words}`, "quiet")));
}

/** @param {any} stage @param {any} client */
function makeClient(stage, client) {
  const name = text(12, 22, client.name, "name");
  const box = clickable(stage, "client", client.address,
    svg("rect", { class: "box", width: CLIENT.width, height: CLIENT.height, rx: 8 }),
    name, text(12, 42, shortened(client.address, 21), "mono"));
  mark(box, "aria-label", `client ${client.name}, ${client.address}`);
  return Object.assign(box, { parts: { name } });
}

/** @param {any} stage @param {any} group */
function makeGroup(stage, group) {
  const heading = text(SERVER.x, 22, "", "heading");
  const button = clickable(stage, "group", group.name,
    svg("rect", { class: "ground", x: SERVER.x - 4, y: 4, width: SERVER.width, height: 26, rx: 6 }), heading);
  const name = text(SWITCH.x + SWITCH.width / 2, 14, "", "name", "middle");
  const vip = text(SWITCH.x + SWITCH.width / 2, 31, "", "mono", "middle");
  return Object.assign(svg("g", {}, name, vip, button), { parts: { heading, name, vip, button } });
}

/** @param {any} stage @param {string} key */
function makeServer(stage, key) {
  const { tall, isRoomy } = stage.places;
  const right = SERVER.width - 12;
  const parts = {
    box: svg("rect", { width: SERVER.width, height: tall, rx: 8 }),
    name: text(12, 21, "", "name"),
    condition: text(right, 21, "", "", "end"),
    address: text(12, 39, "", "mono"),
    weight: text(12, 55, "", "quiet"),
    active: text(right, 55, "", "quiet", "end"),
  };
  const { box, name, condition, address, weight, active } = parts;
  const shown = isRoomy ? [box, name, condition, address, weight, active] : [box, name, condition];
  return Object.assign(clickable(stage, "server", key, ...shown), { parts, tall });
}

/** @param {any} stage @param {any} box @param {any} each @param {any} scene */
function updateServer(stage, box, each, scene) {
  const { server } = each;
  const [condition, word] = conditionOf(server);
  const { parts } = box;
  const name = server.name || (stage.places.isRoomy ? "real server" : server.address);
  mark(box, "transform", `translate(${SERVER.x} ${each.y})`);
  mark(box, "aria-label", `${called(scene, server.address)}, ${word.slice(2)}, weight ${server.weight}, `
    + `${server.active} active connections`);
  mark(parts.box, "class", `box ${condition}`);
  mark(parts.box, "height", stage.places.tall);
  say(parts.name, shortened(name, stage.places.isRoomy ? 16 : 22));
  say(parts.condition, stage.places.isRoomy ? word : word.slice(0, 1));
  mark(parts.condition, "class", condition);
  say(parts.address, shortened(server.address, 26));
  say(parts.weight, `weight ${server.weight}`);
  say(parts.active, `${server.active} active`);
}

/**
 * The health and the operator's wish, in a class, a sign and a word.
 * @param {any} server
 */
export function conditionOf(server) {
  if (!server.healthy) return ["down", "▼ down"];
  if (server.state !== "ready") return ["paused", `◼ ${server.state}`];
  if (server.weight === 0) return ["paused", "◼ weight 0"];
  return ["up", "▲ up"];
}

/**
 * A thing that can be chosen, by mouse and by keyboard.
 * @param {any} stage
 * @param {string} kind
 * @param {string} name
 * @param {...Node} children
 */
function clickable(stage, kind, name, ...children) {
  const box = svg("g", { class: "clickable", tabindex: 0, role: "button" }, ...children);
  const choose = () => stage.choose(kind, name);
  box.addEventListener("click", choose);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.stopPropagation();
      choose();
    }
  });
  return box;
}

/**
 * @param {number} x
 * @param {number} y
 * @param {string} words
 * @param {string} kind
 */
function text(x, y, words, kind, anchor = "start") {
  return svg("text", { x, y, class: kind, "text-anchor": anchor }, words);
}
