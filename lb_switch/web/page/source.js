// Where messages come from: a running switch, or the file that this page is.

/** The messages of a switch that runs. */
export function liveSource() {
  return {
    isFile: false,
    /** @param {(messages: any[]) => void} take @param {() => void} lost */
    follow(take, lost) {
      const events = new EventSource("/events");
      events.onmessage = (event) => take(JSON.parse(event.data));
      events.onerror = () => lost();
    },
    settings: () => ask("/settings"),
    /** @param {number} number */
    packet: (number) => ask(`/packet/${number}`),
    /** @param {number} number */
    connection: (number) => ask(`/connection/${number}`),
    /** @param {number} number */
    ladder: (number) => `/connection/${number}/ladder.svg?${Date.now()}`,
    /** @param {any} fields */
    act: (fields) => post("/act", fields),
    lab: () => ask("/lab"),
    /** @param {any} fields */
    actOnLab: (fields) => post("/lab", fields),
  };
}

/**
 * The messages that stand in this very file.
 * @param {any} kept
 */
export function fileSource(kept) {
  const refused = async () => ({ refused: "this is a recording" });
  return {
    isFile: true,
    /** @param {(messages: any[]) => void} take */
    follow(take) { take(kept.messages); },
    settings: async () => ({ readOnly: true, lab: false }),
    /** @param {number} number */
    packet: async (number) => kept.packets[number] ?? { missing: "This packet is not in the file." },
    /** @param {number} number */
    connection: async (number) =>
      kept.connections[number] ?? { missing: "This connection is not in the file." },
    /** @param {number} number */
    ladder: (number) =>
      `data:image/svg+xml,${encodeURIComponent(kept.ladders[number] ?? "<svg/>")}`,
    act: refused,
    lab: refused,
    actOnLab: refused,
  };
}

/** @param {string} address */
async function ask(address) {
  const response = await fetch(address);
  return response.json();
}

/** @param {string} address @param {any} fields */
async function post(address, fields) {
  const response = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(fields),
  });
  return response.json();
}
