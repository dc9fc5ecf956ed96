// What is said of a thing that was chosen.  A panel is built once; while it stands, only what has
// changed in it is drawn anew.

import { html } from "./dom.js";
import { clientPanel } from "./panel_client.js";
import { connectionPanel } from "./panel_connection.js";
import { groupPanel } from "./panel_group.js";
import { packetPanel } from "./panel_packet.js";
import { serverPanel } from "./panel_server.js";

/**
 * Each makes a panel of what is called so: its children, and perhaps what draws its changes.
 * @type {Record<string, (app: any, name: any) => any>}
 */
const PANELS = {
  packet: packetPanel,
  connection: connectionPanel,
  server: serverPanel,
  client: clientPanel,
  group: groupPanel,
};

export const KINDS = Object.keys(PANELS);

/** @param {any} parent @param {any} app */
export function makePanel(parent, app) {
  return { parent, app, shown: "", update: () => {} };
}

/**
 * Show a thing: its details come when they are there.
 * @param {ReturnType<typeof makePanel>} panel
 * @param {string} kind
 * @param {any} name
 */
export async function showPanel(panel, kind, name) {
  const shown = `${kind} ${name}`;
  panel.shown = shown;
  panel.update = () => {};
  const { children, update } = await PANELS[kind](panel.app, name);
  if (panel.shown !== shown) return;
  const close = html("button", { class: "close", click: () => panel.app.close() }, "Close (Esc)");
  panel.parent.replaceChildren(close, ...children);
  panel.parent.hidden = false;
  panel.parent.scrollTop = 0;
  panel.parent.parentElement.classList.add("with-panel");
  panel.update = update ?? (() => {});
  panel.update();
}

/**
 * Show nothing any more.
 * @param {ReturnType<typeof makePanel>} panel
 */
export function closePanel(panel) {
  panel.shown = "";
  panel.update = () => {};
  panel.parent.hidden = true;
  panel.parent.replaceChildren();
  panel.parent.parentElement.classList.remove("with-panel");
}
