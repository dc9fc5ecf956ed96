// Everything the page knows: made of messages, in order.  Views only read it.

/** Seconds of the picture that a packet takes for one leg. */
export const LEG = 0.8;
/** Seconds between the starts of two packets of one connection: so that each can be seen. */
const GAP = 0.6;
/** Connections whose packets travel at the same time; of others nothing is shown. */
const AT_ONCE = 12;
/** Seconds that the picture may be behind. */
const LONGEST_DELAY = 6;
const KEPT = { packets: 20000, news: 500, scenes: 5000, numbers: 600, probes: 60 };

/** @returns a store without any knowledge */
export function makeStore() {
  return {
    status: { connected: false, text: "connecting" },
    readOnly: true,
    isFile: false,
    begin: 0,
    scenes: [],
    packets: [],
    byNumber: new Map(),
    connections: new Map(),
    probes: new Map(),
    news: [],
    numbers: [],
    missing: 0,
    lastShow: new Map(),
    skipped: new Set(),
    end: 0,
    version: 0,
  };
}

/** Learn from messages. */
export function learn(store, messages) {
  for (const message of messages) LEARN[message.kind]?.(store, message);
  store.version += 1;
}

const LEARN = {
  begin(store, message) {
    Object.assign(store, makeStore(), {
      status: store.status, readOnly: store.readOnly, isFile: store.isFile,
      begin: message.at, end: message.at,
    });
  },
  status(store, message) { store.status = message; },
  scene(store, message) {
    store.scenes.push(message);
    trim(store.scenes, KEPT.scenes);
    store.end = Math.max(store.end, message.at);
  },
  packet(store, message) {
    place(store, message);
    store.packets.push(message);
    if (message.number !== null) store.byNumber.set(message.number, message);
    if (store.packets.length > KEPT.packets) store.byNumber.delete(store.packets.shift().number);
    store.end = Math.max(store.end, message.at);
  },
  connection(store, message) {
    const known = store.connections.get(message.number);
    store.connections.set(message.number, { ...known, ...message, gone: message.stage === "closed" });
    if (store.connections.size > KEPT.packets) {
      store.connections.delete(store.connections.keys().next().value);
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

/** Decide when a packet is seen: `show`, in seconds of the switch's clock; null: it is not. */
function place(store, packet) {
  const key = packet.connection ?? `n${packet.number}`;
  const before = store.lastShow.get(key);
  if (before === undefined) {
    for (const [each, last] of store.lastShow) {
      if (last + 2 * LEG < packet.at) store.lastShow.delete(each);
    }
    if (store.lastShow.size >= AT_ONCE && !store.isFile) store.skipped.add(key);
    else store.skipped.delete(key);
  }
  const show = before === undefined ? packet.at : Math.max(packet.at, before + GAP);
  packet.show = store.skipped.has(key) || (!store.isFile && show > packet.at + LONGEST_DELAY)
    ? null : show;
  if (packet.show !== null) store.lastShow.set(key, show);
  if (store.skipped.size > 5000) store.skipped.clear();
}

/** The scene that was true at a moment. */
export function sceneAt(store, at) {
  const { scenes } = store;
  let low = 0;
  let high = scenes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (scenes[middle].at <= at) low = middle + 1; else high = middle;
  }
  return scenes[Math.max(0, low - 1)] ?? null;
}

/** How long all steps of a packet take on the picture. */
export function duration(packet) {
  return Math.max(1, packet.steps.length) * 2 * LEG + 1;
}

/** The last moment that there is something to see of. */
export function lastMoment(store) {
  const last = store.packets.at(-1);
  return Math.max(store.end, last?.show != null ? last.show + duration(last) : 0);
}

/** Packets before a moment, and how many of them were shown: `[shown, all]`. */
export function shownOf(store, from, to) {
  let all = 0;
  let shown = 0;
  for (let index = store.packets.length - 1; index >= 0; index -= 1) {
    const packet = store.packets[index];
    if (packet.at < from) break;
    if (packet.at > to) continue;
    all += 1;
    shown += packet.show !== null;
  }
  // The switch tells of some packets only when there are many: it has counted all.
  const last = store.numbers.findLast((each) => each.at <= to);
  const first = store.numbers.findLast((each) => each.at <= from) ?? store.numbers[0];
  if (last && last !== first) all = Math.max(all, handled(last) - handled(first));
  return [shown, all];
}

/** How many packets the switch had handled when these numbers were taken. */
export function handled(numbers) {
  return Object.values(numbers.packets).reduce((sum, count) => sum + count, 0);
}

/** The address of an endpoint: without its port and brackets. */
export function addressOf(place) {
  if (place.startsWith("[")) return place.slice(1, place.indexOf("]"));
  return place.split(":").length > 2 ? place : place.split(":")[0];
}

function trim(list, most) {
  if (list.length > most) list.splice(0, list.length - most);
}
