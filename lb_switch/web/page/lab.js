// What can be done to a machine of a lab: requests, faults, cables.

import { html, say } from "./dom.js";
import { actions, button, choice } from "./parts.js";

/**
 * The acts upon a machine, by name or address; nothing if the page is not a lab's.
 * @param {any} app
 * @param {string} word
 * @returns {Promise<Node[]>}
 */
export async function labParts(app, word) {
  if (!app.store.hasLab || app.store.readOnly) return [];
  const state = await app.source.lab().catch(() => ({ refused: "lb-switch web does not answer" }));
  if (state.refused) return [html("p", { class: "refused" }, state.refused)];
  const machine = state.machines.find((/** @type {any} */ each) =>
    each.name === word || each.addresses.includes(word));
  if (!machine) return [];
  const standing = html("p", { class: "standing" }, `${machine.said}.`);
  const does = async (/** @type {any} */ fields) => {
    const answer = await app.source.actOnLab({ host: machine.name, ...fields });
    const now = await app.source.lab().catch(() => null);
    const again = now?.machines?.find((/** @type {any} */ each) => each.name === machine.name);
    if (again) say(standing, `${again.said}.`);
    return answer;
  };
  const parts = machine.is_server ? serverParts(does) : requestParts(state, does);
  const cable = (/** @type {Function} */ act) => [
    button("unplug", () => act(does({ act: "unplug" }))),
    button("plug in", () => act(does({ act: "plug" }))),
  ];
  const [title, acts, said] = actions(`In the lab: ${machine.name}`, (act) => [...parts(act), ...cable(act)]);
  return [title, standing, acts, said];
}

/** @param {any} state @param {Function} does */
function requestParts(state, does) {
  return (/** @type {Function} */ act) => {
    const whom = choice("virtual server", state.virtual_servers);
    const rate = html("input", { type: "number", min: 1, max: 500, value: 5, "aria-label": "requests a second" });
    const ask = (/** @type {number} */ count) => () =>
      act(does({ act: "request", virtual_server: whom.value, count }));
    return [
      whom,
      button("one request", ask(1)), button("ten requests", ask(10)),
      rate,
      button("a second, for a minute", () => act(does({
        act: "load", virtual_server: whom.value, rate: Number(rate.value), seconds: 60,
      }))),
      button("stop", () => act(does({ act: "end_load" }))),
    ];
  };
}

/** @param {Function} does */
function serverParts(does) {
  return (/** @type {Function} */ act) => [
    button("kill", () => act(does({ act: "kill" }))),
    button("start", () => act(does({ act: "start" }))),
    button("answer 500", () => act(does({ act: "fault", status: 500 }))),
    button("answer slowly", () => act(does({ act: "fault", seconds: 3 }))),
    button("answer nothing", () => act(does({ act: "fault", silent: true }))),
    button("answer well", () => act(does({ act: "fault" }))),
  ];
}
