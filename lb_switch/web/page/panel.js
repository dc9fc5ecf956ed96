// What is said of a thing that was chosen: a packet, a connection, a real server.

import { sceneAt } from "./store.js";
import { conditionOf } from "./stage.js";
import { html } from "./svg.js";

/** @param app `{store, source, clock, choose, follow, close, act}` */
export function makePanel(parent, app) {
  return { parent, app, shown: "" };
}

/** Show a thing: its details come when they are there. */
export async function showPanel(panel, kind, name) {
  panel.shown = `${kind} ${name}`;
  panel.parent.hidden = false;
  panel.parent.parentElement.classList.add("with-panel");
  if (kind === "server") return fill(panel, SHOW.server(panel.app, name));
  const found = kind === "packet"
    ? await panel.app.source.packet(name) : await panel.app.source.connection(name);
  if (panel.shown !== `${kind} ${name}`) return undefined;
  return fill(panel, found.missing ? [html("p", {}, found.missing)] : SHOW[kind](panel.app, found));
}

/** Show nothing any more. */
export function closePanel(panel) {
  panel.shown = "";
  panel.parent.hidden = true;
  panel.parent.replaceChildren();
  panel.parent.parentElement.classList.remove("with-panel");
}

function fill(panel, children) {
  const close = html("button", { class: "close", click: () => panel.app.close() }, "Close (Esc)");
  panel.parent.replaceChildren(close, ...children);
}

const SHOW = {
  packet(app, packet) {
    const parts = [
      html("h2", {}, `Packet ${packet.number}`),
      html("p", {}, `${packet.verdict}, ${packet.reason.replaceAll("_", " ")}: ${packet.why}.`),
    ];
    if (packet.connection !== null) parts.push(connectionButtons(app, packet.connection));
    if (packet.choice) parts.push(...choiceParts(packet.choice));
    parts.push(...packet.layers.map((layer) => layerTable(layer, packet.rewritten)));
    if (packet.checksum.length) parts.push(folded("Checksum, word by word", packet.checksum));
    parts.push(folded("Its story", packet.story));
    return parts;
  },

  connection(app, connection) {
    const row = app.store.connections.get(connection.number);
    const state = row?.state ?? connection.states.at(-1)?.state ?? "";
    const ended = connection.ended ? `; it has left the table: ${connection.ended}` : "";
    return [
      html("h2", {}, `Connection ${connection.number}`),
      html("p", {}, `${connection.protocol}: ${connection.client} to ${connection.virtual}, given to `
        + `${connection.real}. ${state}${ended}.`),
      html("div", { class: "acts" },
        html("button", { click: () => app.follow(connection.number) }, "Follow it alone")),
      html("h3", {}, "Its way through the states"),
      html("ol", { class: "way" }, ...connection.states.map((each) => html("li", {}, each.state))),
      html("h3", {}, "Both legs"),
      html("img", {
        src: app.source.ladder(connection.number),
        alt: `Ladder of connection ${connection.number}: its packets are listed in the story below.`,
      }),
      html("h3", {}, "Its packets"),
      html("div", { class: "acts" }, ...connection.packets.slice(-40).map((number) =>
        html("button", { click: () => app.choose("packet", number) }, `#${number}`))),
      folded("Its story", connection.story),
    ];
  },

  server(app, key) {
    const scene = sceneAt(app.store, app.clock.head);
    const group = scene?.groups.find((each) => key.startsWith(`${each.name} `)
      && each.real_servers.some((server) => `${each.name} ${server.address}` === key));
    const server = group?.real_servers.find((each) => `${group.name} ${each.address}` === key);
    if (!server) return [html("p", {}, "It is not there any more.")];
    const total = group.real_servers.reduce((sum, each) => sum + each.connections, 0);
    const weights = group.real_servers.reduce((sum, each) => sum + each.weight, 0);
    const share = total ? (100 * server.connections) / total : 0;
    const due = weights ? (100 * server.weight) / weights : 0;
    const rows = [
      ["health", conditionOf(server)[1]],
      ["weight", String(server.weight)],
      ["active, inactive", `${server.active}, ${server.inactive}`],
      ["connections so far", String(server.connections)],
      ["its share of all", `${share.toFixed(1)} %`],
      ["by its weight", `${due.toFixed(1)} %`],
    ];
    const probes = (app.store.probes.get(key) ?? []).slice(-8).reverse();
    const connections = [...app.store.connections.values()]
      .filter((each) => !each.gone && each.real === server.address && each.group === group.name)
      .slice(-12).reverse();
    return [
      html("h2", {}, server.name ? `${server.name} ${server.address}` : server.address),
      html("p", {}, `Real server of ${group.name}, ${group.address}, scheduler ${group.scheduler}.`),
      html("table", {}, html("tbody", {}, ...rows.map(([name, value]) =>
        html("tr", {}, html("th", { scope: "row" }, name), html("td", {}, value))))),
      ...(app.store.readOnly ? [] : actParts(app, group, server)),
      html("h3", {}, "What probes have found"),
      html("ul", {}, ...(probes.length ? probes.map((each) =>
        html("li", {}, `${each.passed ? "✓" : "✗"} ${each.check}: ${each.finding}`))
        : [html("li", {}, "nothing yet")])),
      html("h3", {}, "Connections"),
      html("div", { class: "acts" }, ...(connections.length ? connections.map((each) =>
        html("button", { click: () => app.choose("connection", each.number) },
          `${each.number}: ${each.client} ${each.state}`))
        : ["none"])),
    ];
  },
};

function connectionButtons(app, number) {
  return html("div", { class: "acts" },
    html("button", { click: () => app.choose("connection", number) }, `Connection ${number}`),
    html("button", { click: () => app.follow(number) }, "Follow it alone"));
}

function layerTable(layer, rewritten) {
  const head = rewritten
    ? html("tr", {}, html("th", { scope: "col" }, ""), html("th", { scope: "col" }, "as it came"),
      html("th", { scope: "col" }, ""), html("th", { scope: "col" }, "as it went on")) : "";
  return html("table", {}, html("caption", {}, layer.title), html("thead", {}, head),
    html("tbody", {}, ...layer.fields.map((field) => {
      const changed = field.before !== field.after;
      return html("tr", { class: changed ? "changed" : "" },
        html("th", { scope: "row" }, field.name), html("td", {}, field.before),
        ...(rewritten ? [html("td", {}, changed ? "≠" : ""), html("td", {}, changed ? field.after : "=")] : []));
    })));
}

function choiceParts(choice) {
  const facts = Object.entries(choice.facts).map(([name, value]) => {
    const shown = value !== null && typeof value === "object"
      ? Object.entries(value).map(([key, each]) => `${key}: ${each}`).join(", ") : String(value);
    return html("tr", {}, html("th", { scope: "row" }, name.replaceAll("_", " ")), html("td", {}, shown));
  });
  return [
    html("h3", {}, "Why this server?"),
    html("p", {}, `${choice.scheduler}: ${choice.name || choice.server} ${choice.said}.`),
    html("table", {}, html("tbody", {}, ...facts,
      html("tr", {}, html("th", { scope: "row" }, "candidates"), html("td", {}, choice.candidates.join(", "))),
      ...choice.passedOver.map((each) => html("tr", {}, html("th", { scope: "row" }, "passed over"),
        html("td", {}, `${each.address} (${each.because})`))))),
  ];
}

function actParts(app, group, server) {
  const said = html("p", { role: "status" });
  const fields = {
    virtual_server: group.address, real_server: server.address, protocol: group.protocol,
  };
  const act = async (more) => {
    const answer = await app.act({ ...fields, ...more });
    said.className = answer.refused ? "refused" : "";
    said.textContent = answer.refused ?? (answer.done.join("; ") || "it was so already");
  };
  const weight = html("input", { type: "number", min: 0, max: 65535, value: server.weight, "aria-label": "weight" });
  return [
    html("h3", {}, "Act"),
    html("div", { class: "acts" },
      ...["ready", "drain", "maint"].map((state) => html("button", {
        "aria-pressed": String(server.state === state), click: () => act({ verb: "set", state }),
      }, state)),
      weight,
      html("button", { click: () => act({ verb: "set", weight: Number(weight.value) }) }, "set weight"),
      html("button", { click: () => act({ verb: "remove", live: "drain" }) }, "remove")),
    said,
  ];
}

function folded(title, lines) {
  return html("details", {}, html("summary", {}, title), html("pre", {}, lines.join("\n")));
}

