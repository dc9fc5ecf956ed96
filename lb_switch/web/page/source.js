// Where messages come from: a running switch, or the file that this page is.

/** The messages of a switch that runs. */
export function liveSource() {
  return {
    isFile: false,
    follow(take, lost) {
      const events = new EventSource("/events");
      events.onmessage = (event) => take(JSON.parse(event.data));
      events.onerror = () => lost();
    },
    settings: () => ask("/settings"),
    packet: (number) => ask(`/packet/${number}`),
    connection: (number) => ask(`/connection/${number}`),
    ladder: (number) => `/connection/${number}/ladder.svg`,
    async act(fields) {
      const response = await fetch("/act", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(fields),
      });
      return response.json();
    },
  };
}

/** The messages that stand in this very file. */
export function fileSource(kept) {
  return {
    isFile: true,
    follow(take) { take(kept.messages); },
    settings: async () => ({ readOnly: true }),
    packet: async (number) => kept.packets[number] ?? { missing: "this packet is not in the file" },
    connection: async (number) =>
      kept.connections[number] ?? { missing: "this connection is not in the file" },
    ladder: (number) =>
      `data:image/svg+xml,${encodeURIComponent(kept.ladders[number] ?? "<svg/>")}`,
    act: async () => ({ refused: "this is a recording" }),
  };
}

async function ask(address) {
  const response = await fetch(address);
  return response.json();
}
