// Everything the page knows: made of messages, in order.  Views only read it.

import { duration, makeSchedule, place } from "./schedule.js";

const KEPT = { packets: 20000, news: 500, scenes: 5000, numbers: 600, probes: 60 };

/** @returns a store without any knowledge */
export function makeStore() {
  return {
    status: { connected: false, text: "connecting" },
    readOnly: true,
    isFile: false,
    /** @type {boolean} whether the page may act on a lab */
    hasLab: false,
    begin: 0,
    /** @type {any[]} */
    scenes: [],
    /** @type {any[]} in the order in which they came */
    packets: [],
    /** @type {any[]} those that are seen, in the order in which they are */
    shown: [],
    /** @type {Map<number, any>} */
    connections: new Map(),
    /** @type {Map<string, any[]>} */
    probes: new Map(),
    /** @type {any[]} */
    news: [],
    /** @type {any[]} */
    numbers: [],
    missing: 0,
    schedule: makeSchedule(),
    end: 0,
    version: 0,
  };
}

/** @typedef {ReturnType<typeof makeStore>} Store */

/**
 * Learn from messages.
 * @param {Store} store
 * @param {any[]} messages
 */
export function learn(store, messages) {
  for (const message of messages) LEARN[message.kind]?.(store, message);
  store.version += 1;
}

/** @type {Record<string, (store: Store, message: any) => void>} */
const LEARN = {
  begin(store, message) {
    const { status, readOnly, isFile, hasLab } = store;
    Object.assign(store, makeStore(), {
      status, readOnly, isFile, hasLab, begin: message.at, end: message.at,
    });
  },
  status(store, message) { store.status = message; },
  scene(store, message) {
    store.scenes.push(message);
    trim(store.scenes, KEPT.scenes);
    store.end = Math.max(store.end, message.at);
  },
  packet(store, message) {
    if (!store.isFile) place(store.schedule, message);
    store.packets.push(message);
    trim(store.packets, KEPT.packets);
    if (message.show !== null && message.steps.length > 0) showInOrder(store.shown, message);
    trim(store.shown, KEPT.packets);
    store.end = Math.max(store.end, message.at);
  },
  connection(store, message) {
    const known = store.connections.get(message.number);
    store.connections.set(message.number, { ...known, ...message, gone: message.stage === "closed" });
    if (store.connections.size > KEPT.packets) {
      const [oldest] = store.connections.keys();
      store.connections.delete(oldest);
    }
  },
  probe(store, message) {
    const key = `${message.group} ${message.server}`;
    const all = store.probes.get(key) ?? [];
    all.push(message);
    trim(all, KEPT.probes);
    store.probes.set(key, all);
  },
  news(store, message) { store.news.push(message); trim(store.news, KEPT.news); },
  numbers(store, message) { store.numbers.push(message); trim(store.numbers, KEPT.numbers); },
  missing(store, message) { store.missing += message.count; },
  behind(store, message) { store.missing += message.count; },
};

/**
 * @param {any[]} shown
 * @param {any} packet
 */
function showInOrder(shown, packet) {
  let index = shown.length;
  while (index > 0 && shown[index - 1].show > packet.show) index -= 1;
  shown.splice(index, 0, packet);
}

/**
 * The last of things in order of time that is not later than a moment: its index, or -1.
 * @param {any[]} things
 * @param {number} at
 * @param {"at" | "show"} [when]
 */
export function lastBefore(things, at, when = "at") {
  let low = 0;
  let high = things.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (things[middle][when] <= at) low = middle + 1; else high = middle;
  }
  return low - 1;
}

/**
 * The scene that was true at a moment.
 * @param {Store} store
 * @param {number} at
 */
export function sceneAt(store, at) {
  return store.scenes[Math.max(0, lastBefore(store.scenes, at))] ?? null;
}

/**
 * The last moment that there is something to see of.
 * @param {Store} store
 */
export function lastMoment(store) {
  const last = store.shown.at(-1);
  return Math.max(store.end, last === undefined ? 0 : last.show + duration(last));
}

/**
 * Packets between two moments, and how many of them were shown: `[shown, all]`.
 * @param {Store} store
 * @param {number} from
 * @param {number} to
 */
export function shownOf(store, from, to) {
  let all = 0;
  let shown = 0;
  for (let index = lastBefore(store.packets, to); index >= 0; index -= 1) {
    const packet = store.packets[index];
    if (packet.at < from) break;
    all += 1;
    shown += packet.show === null ? 0 : 1;
  }
  // The switch tells of some packets only when there are many: it has counted all.
  const last = store.numbers[lastBefore(store.numbers, to)];
  const first = store.numbers[Math.max(0, lastBefore(store.numbers, from))];
  if (last && last !== first) all = Math.max(all, handled(last) - handled(first));
  return [shown, all];
}

/**
 * How many packets the switch had handled when these numbers were taken.
 * @param {any} numbers
 * @returns {number}
 */
export function handled(numbers) {
  return Object.values(numbers.packets).reduce((sum, count) => sum + count, 0);
}

/**
 * @param {any[]} list
 * @param {number} most
 */
function trim(list, most) {
  // In blocks: to move thousands of things for each one that comes would take the frame's time.
  if (list.length > most + most / 10) list.splice(0, list.length - most);
}
