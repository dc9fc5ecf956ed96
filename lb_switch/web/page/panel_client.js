// A client: its connections; and, in a lab, what it is to do.

import { html, reconcile, say } from "./dom.js";
import { labParts } from "./lab.js";
import { button } from "./parts.js";
import { addressOf, called } from "./places.js";
import { sceneAt } from "./store.js";

/** @param {any} app @param {string} address */
export async function clientPanel(app, address) {
  const name = sceneAt(app.store, app.clock.head)?.hosts[address] ?? "";
  const connections = html("div", { class: "acts" });
  const lab = await labParts(app, name || address);
  return {
    children: [
      html("h2", {}, name ? `${name} ${address}` : address), html("p", {}, "A client."),
      ...lab,
      html("h3", {}, "Its last connections"), connections,
    ],
    update() {
      const scene = sceneAt(app.store, app.clock.head);
      const addresses = new Set([address]);
      for (const [other, itsName] of Object.entries(scene?.hosts ?? {})) {
        if (name && itsName === name) addresses.add(other);
      }
      const mine = [...app.store.connections.values()]
        .filter((each) => addresses.has(addressOf(each.client))).slice(-12).reverse();
      reconcile(connections, mine.length ? mine : ["none"], (each) => each.number ?? each,
        (each) => (each === "none" ? html("span", {}, "none yet")
          : button("", () => app.choose("connection", each.number))),
        (element, each) => each === "none"
          || say(element, `${each.number}: to ${called(scene, each.real)}, ${each.gone ? "ended" : each.state ?? ""}`));
    },
  };
}
