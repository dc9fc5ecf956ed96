// A real server: how it is, what probes have found, its share, its connections; and what to do.

import { html, reconcile, say } from "./dom.js";
import { labParts } from "./lab.js";
import { serverKey } from "./layout.js";
import { actions, button, facts } from "./parts.js";
import { conditionOf } from "./stage.js";
import { addressOf, called } from "./places.js";
import { sceneAt } from "./store.js";

/** @param {any} app @param {string} key */
export async function serverPanel(app, key) {
  const first = find(app, key);
  if (first === null) return { children: [html("p", {}, "It is not there any more.")] };
  const { group, server } = first;
  const title = html("h2", {}, server.name ? `${server.name} ${server.address}` : server.address);
  const place = html("p", {});
  const table = facts(["health", "weight", "active, inactive", "connections so far",
    "its share of all", "its share by weight"]);
  const probes = html("ul", {});
  const connections = html("div", { class: "acts" });
  const lab = await labParts(app, server.name || addressOf(server.address));
  return {
    children: [
      title, place, table.table,
      ...(app.store.readOnly ? [] : actParts(app, group, server)),
      ...lab,
      html("h3", {}, "What probes have found"), probes,
      html("h3", {}, "Connections"), connections,
    ],
    update() {
      const found = find(app, key);
      if (found === null) { say(place, "It has left its group."); return; }
      const now = found.server;
      say(place, `Real server of ${found.group.name}, ${found.group.address}, scheduler ${found.group.scheduler}.`);
      const [share, due] = shares(found.group, now);
      table.set([conditionOf(now)[1], String(now.weight), `${now.active}, ${now.inactive}`,
        String(now.connections), share, due]);
      const seen = (app.store.probes.get(key) ?? [])
        .filter((/** @type {any} */ each) => each.at <= app.clock.head).slice(-8).reverse();
      reconcile(probes, seen.length ? seen : ["none"], (each) => each, (each) => html("li", {},
        each === "none" ? "No probe has ended yet." : `${each.passed ? "✓" : "✗"} ${each.check}: ${each.finding}`));
      const scene = sceneAt(app.store, app.clock.head);
      const mine = [...app.store.connections.values()].filter((each) =>
        !each.gone && each.real === now.address && each.group === found.group.name).slice(-12).reverse();
      reconcile(connections, mine.length ? mine : ["none"], (each) => each.number ?? each,
        (each) => (each === "none" ? html("span", {}, "none in the table")
          : button("", () => app.choose("connection", each.number))),
        (element, each) => each === "none"
          || say(element, `${each.number}: ${called(scene, each.client)} ${each.state ?? ""}`));
    },
  };
}

/** @param {any} app @param {string} key */
function find(app, key) {
  const scene = sceneAt(app.store, app.clock.head);
  for (const group of scene?.groups ?? []) {
    for (const server of group.real_servers) {
      if (serverKey(group, server) === key) return { group, server };
    }
  }
  return null;
}

/**
 * Its share of the group's connections, and that of its weight: as text.
 * @param {any} group
 * @param {any} server
 */
export function shares(group, server) {
  const sum = (/** @type {string} */ what) => group.real_servers.reduce(
    (/** @type {number} */ total, /** @type {any} */ each) => total + each[what], 0,
  );
  const percent = (/** @type {number} */ part, /** @type {number} */ all) =>
    `${(all ? (100 * part) / all : 0).toFixed(1)} %`;
  return [percent(server.connections, sum("connections")), percent(server.weight, sum("weight"))];
}

/** @param {any} app @param {any} group @param {any} server */
function actParts(app, group, server) {
  const fields = {
    virtual_server: group.address, real_server: server.address, protocol: group.protocol,
  };
  const weight = html("input", {
    type: "number", min: 0, max: 65535, value: server.weight, "aria-label": "weight",
  });
  return actions("Act on the switch", (act) => [
    ...["ready", "drain", "maint"].map((state) =>
      button(state, () => act(app.act({ ...fields, verb: "set", state })))),
    weight,
    button("set weight", () => act(app.act({ ...fields, verb: "set", weight: Number(weight.value) }))),
    button("remove", () => act(app.act({ ...fields, verb: "remove", live: "drain" }))),
    button("remove now", () => act(app.act({ ...fields, verb: "remove", live: "now" }))),
  ]);
}
