// A virtual server: its group, the shares of its real servers; another scheduler, another server.

import { html, reconcile, say } from "./dom.js";
import { serverKey } from "./layout.js";
import { actions, button, choice } from "./parts.js";
import { shares } from "./panel_server.js";
import { conditionOf } from "./stage.js";
import { called } from "./places.js";
import { sceneAt } from "./store.js";

const SCHEDULERS = ["rr", "wrr", "lc", "wlc", "sh", "mh"];

/** @param {any} app @param {string} name */
export async function groupPanel(app, name) {
  const first = find(app, name);
  if (!first) return { children: [html("p", {}, "It is not there any more.")] };
  const about = html("p", {});
  const rows = html("tbody", {});
  const head = ["real server", "health", "weight", "active", "so far", "share", "by weight"];
  return {
    children: [
      html("h2", {}, `Virtual server ${name}`), about,
      html("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "Its real servers" },
        html("table", { class: "row" }, html("thead", {}, html("tr", {},
          ...head.map((each) => html("th", { scope: "col" }, each)))), rows)),
      ...(app.store.readOnly ? [] : actParts(app, first)),
    ],
    update() {
      const group = find(app, name);
      if (!group) { say(about, "It is not served any more."); return; }
      say(about, `${group.protocol} ${group.address}, scheduler ${group.scheduler}, forward ${group.forward}, `
        + `on_down ${group.on_down}.`);
      const scene = sceneAt(app.store, app.clock.head);
      reconcile(rows, group.real_servers, (each) => each.address, (each) => html("tr", {},
        html("th", { scope: "row" }, button(called(scene, each.address),
          () => app.choose("server", serverKey(group, each)))),
        ...head.slice(1).map(() => html("td", {}))),
      (row, each) => {
        const values = [conditionOf(each)[1], each.weight, each.active, each.connections, ...shares(group, each)];
        values.forEach((value, index) => say(row.children[index + 1], String(value)));
      });
    },
  };
}

/** @param {any} app @param {string} name */
function find(app, name) {
  const scene = sceneAt(app.store, app.clock.head);
  return scene?.groups.find((/** @type {any} */ each) => each.name === name) ?? null;
}

/** @param {any} app @param {any} group */
function actParts(app, group) {
  const fields = { virtual_server: group.address, protocol: group.protocol };
  const scheduler = choice("scheduler", SCHEDULERS, group.scheduler);
  const place = html("input", { "aria-label": "RIP:PORT or NAME:PORT", placeholder: "RIP:PORT or NAME:PORT" });
  const weight = html("input", { type: "number", min: 0, max: 65535, value: 1, "aria-label": "weight" });
  return actions("Act on the switch", (act) => [
    scheduler,
    button("set scheduler", () => act(app.act({ ...fields, verb: "set", scheduler: scheduler.value }))),
    place, weight,
    button("add a real server", () => act(app.act({
      ...fields, verb: "add", real_server: place.value.trim(), weight: Number(weight.value),
    }))),
  ]);
}
