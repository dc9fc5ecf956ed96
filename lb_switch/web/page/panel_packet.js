// A packet: its fields before and after, why it went where it went, its story.

import { html } from "./dom.js";
import { button, folded, picture } from "./parts.js";

/** @param {any} app @param {number} number */
export async function packetPanel(app, number) {
  const packet = await app.source.packet(number);
  if (packet.missing) return { children: [html("p", {}, packet.missing)] };
  const reason = packet.reason.replaceAll("_", " ");
  const children = [
    html("h2", {}, `Packet ${packet.number}`),
    html("p", {}, `${packet.verdict}, ${reason}: ${packet.why}.`),
  ];
  if (packet.connection !== null) {
    children.push(html("div", { class: "acts" },
      button(`Connection ${packet.connection}`, () => app.choose("connection", packet.connection)),
      button("Follow it alone", () => app.follow(packet.connection))));
  }
  if (packet.choice) children.push(...choiceParts(packet.choice));
  children.push(...packet.layers.map((/** @type {any} */ layer) => layerTable(layer, packet.rewritten)));
  if (packet.checksum.length) children.push(folded("Checksum, word by word", packet.checksum));
  children.push(folded("Its story", packet.story));
  return { children };
}

/** @param {any} layer @param {boolean} rewritten */
function layerTable(layer, rewritten) {
  const head = html("tr", {}, html("th", { scope: "col" }, "field"),
    html("th", { scope: "col" }, "as it came"),
    ...(rewritten ? [html("th", { scope: "col" }, ""), html("th", { scope: "col" }, "as it went on")] : []));
  return html("table", { class: "fields" }, html("caption", {}, layer.title), html("thead", {}, head),
    html("tbody", {}, ...layer.fields.map((/** @type {any} */ field) => {
      const changed = field.before !== field.after;
      const after = field.remark ? `${field.after} (${field.remark})` : field.after;
      return html("tr", { class: changed ? "changed" : "" },
        html("th", { scope: "row" }, field.name), html("td", {}, field.before),
        ...(rewritten ? [html("td", {}, changed ? "≠" : "="), html("td", {}, changed ? after : "")] : []));
    })));
}

/** @param {any} choice */
function choiceParts(choice) {
  const rows = Object.entries(choice.facts).map(([name, value]) => {
    const shown = value !== null && typeof value === "object"
      ? Object.entries(value).map(([key, each]) => `${key}: ${each}`).join(", ") : String(value);
    return [name.replaceAll("_", " "), shown];
  });
  rows.push(["candidates", choice.candidates.join(", ")]);
  for (const each of choice.passedOver) rows.push(["passed over", `${each.address} (${each.because})`]);
  const parts = [
    html("h3", {}, "Why this server?"),
    html("p", {}, `${choice.scheduler}: ${choice.name || choice.server} ${choice.said}.`),
    html("table", {}, html("tbody", {}, ...rows.map(([name, value]) =>
      html("tr", {}, html("th", { scope: "row" }, name), html("td", {}, value))))),
  ];
  if (choice.strip) {
    parts.push(html("h3", {}, "Maglev's table, and what moves when this server leaves"),
      html("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "Maglev's table" },
        picture(choice.strip, choice.stripSaid)),
      html("p", {}, `${choice.stripSaid}.`));
  }
  return parts;
}
