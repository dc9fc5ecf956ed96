// Where everything stands: pure geometry, in the units of the picture.

import { addressOf } from "./places.js";

export const WIDTH = 1280;
export const CLIENT = { x: 16, width: 176, height: 54 };
export const SWITCH = { x: 536, width: 208 };
export const SERVER = { x: 1054, width: 210, height: 62, low: 30 };
export const TOP = 14;
const MOST_CLIENTS = 7;
const MOST_SERVERS = 40;
/** More servers than this stand in one line each. */
const ROOMY = 10;
const HEADING = 34;

/**
 * Clients by address: machines with a name that are nobody's server, then who has spoken last.
 * @param {any} scene
 * @param {any[]} packets
 * @returns {string[]}
 */
export function clientsOf(scene, packets) {
  /** @type {Set<string>} */
  const taken = new Set();
  for (const group of scene.groups) {
    taken.add(addressOf(group.address));
    for (const server of group.real_servers) taken.add(addressOf(server.address));
  }
  const clients = Object.keys(scene.hosts).filter((address) => !taken.has(address));
  const seen = new Set(clients);
  const first = Math.max(0, packets.length - 500);
  for (let index = packets.length - 1; index >= first && seen.size < 40; index -= 1) {
    const address = addressOf(packets[index].steps[0]?.client ?? "");
    if (address && address !== "?" && !taken.has(address) && !seen.has(address)) {
      seen.add(address);
      clients.push(address);
    }
  }
  // Two addresses of one machine are one machine.
  const names = new Set();
  return clients.filter((address) => {
    const name = scene.hosts[address] ?? address;
    if (names.has(name) || name === "switch") return false;
    names.add(name);
    return true;
  });
}

/**
 * @param {any} scene
 * @param {string[]} clients
 */
export function layout(scene, clients) {
  const servers = scene.groups.reduce(
    (/** @type {number} */ sum, /** @type {any} */ group) => sum + group.real_servers.length, 0,
  );
  const isRoomy = servers <= ROOMY;
  const tall = isRoomy ? SERVER.height : SERVER.low;
  const row = tall + (isRoomy ? 10 : 5);
  const shownClients = clients.slice(0, MOST_CLIENTS);
  const shownServers = Math.min(servers, MOST_SERVERS);
  const serversHeight = shownServers * row + scene.groups.length * HEADING
    + (servers > shownServers ? 24 : 0);
  const clientsHeight = shownClients.length * (CLIENT.height + 30) - 30;
  const height = Math.max(260, serversHeight + 2 * TOP, clientsHeight + 2 * TOP + 40);
  const result = {
    width: WIDTH,
    height,
    isRoomy,
    tall,
    clients: /** @type {{address: string, name: string, y: number}[]} */ ([]),
    moreClients: clients.length - shownClients.length,
    groups: /** @type {{group: any, y: number}[]} */ ([]),
    servers: /** @type {{group: any, server: any, key: string, y: number}[]} */ ([]),
    moreServers: servers - shownServers,
    /** Where the wires of a machine end: by name, address, and key of a server. */
    levels: /** @type {Map<string, number>} */ (new Map()),
    middle: height / 2,
  };
  let y = height / 2 - clientsHeight / 2;
  for (const address of shownClients) {
    const name = scene.hosts[address] ?? "client";
    const level = y + CLIENT.height / 2;
    result.clients.push({ address, name, y });
    result.levels.set(address, level);
    for (const [other, otherName] of Object.entries(scene.hosts)) {
      if (otherName === name) result.levels.set(other, level);
    }
    y += CLIENT.height + 30;
  }
  y = Math.max(TOP, height / 2 - serversHeight / 2);
  let left = shownServers;
  for (const group of scene.groups) {
    result.groups.push({ group, y });
    y += HEADING;
    for (const server of group.real_servers) {
      if (left <= 0) break;
      left -= 1;
      const key = serverKey(group, server);
      result.servers.push({ group, server, key, y });
      result.levels.set(key, y + tall / 2);
      if (!result.levels.has(server.address)) result.levels.set(server.address, y + tall / 2);
      y += row;
    }
  }
  return result;
}

/** @typedef {ReturnType<typeof layout>} Layout */

/**
 * What a real server is called on this page.
 * @param {any} group
 * @param {any} server
 */
export function serverKey(group, server) {
  return `${group.name} ${server.address}`;
}

/**
 * Where the wire of a step begins and ends: in x for each side, and the levels.
 * @param {Layout} places
 * @param {any} packet
 * @param {any} step
 */
export function way(places, packet, step) {
  const { levels, middle } = places;
  return {
    client: levels.get(addressOf(step.client)) ?? middle,
    server: levels.get(`${packet.group} ${step.server}`) ?? levels.get(step.server)
      ?? levels.get(addressOf(step.client)) ?? middle,
  };
}
