const CHUNK_BYTES = 2 ** 20;
const MIN_CHUNK_BYTES = 2 ** 15; // after an error the next chunk is half as long: on a bad line long ones never arrive
const MAX_TRIES = 16;
const POLL_MS = 250;

/** Sends a capture file in chunks to the page's server, which passes them on to the hub, and waits until it is a session.
 *  `report(status)` hears how far it is; gives the last status. Throws an Error with a sentence if it fails. After a
 *  break it goes on where the hub says it stopped. */
async function uploadFile(file, report, signal) {
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  async function ask(path, method, body, headers = {}) {
    const url = new URL(path, document.baseURI);
    const response = await fetch(url, { method, body, headers, signal, credentials: "same-origin" });
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    const why = answer.error?.message ?? (response.statusText || `The server answered ${response.status}.`);
    const final = response.status >= 400 && response.status < 500 && response.status !== 409 && response.status !== 429;
    throw Object.assign(new Error(why), { final });
  }

  async function patiently(work, otherwise) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await work();
      } catch (error) {
        if (error.final || error.name === "AbortError" || tries === MAX_TRIES) throw error;
        await pause(POLL_MS * 2 ** Math.min(tries, 4));
        work = otherwise ?? work;
      }
    }
  }

  let status = await ask("uploads", "POST", JSON.stringify({ name: file.name.slice(-200), size: file.size }));
  const place = `uploads/${status.id}`;
  const look = () => ask(place, "GET");
  let chunkBytes = CHUNK_BYTES;
  try {
    while (status.state === "receiving") {
      report(status);
      const { offset } = status;
      const chunk = file.slice(offset, offset + chunkBytes);
      status = await patiently(() => ask(place, "PATCH", chunk, { "Upload-Offset": String(offset) }), look);
      const arrived = status.offset > offset;
      chunkBytes = arrived ? Math.min(2 * chunkBytes, CHUNK_BYTES) : Math.max(chunkBytes / 2, MIN_CHUNK_BYTES);
    }
  } catch (error) {
    if (error.name === "AbortError") fetch(new URL(place, document.baseURI), { method: "DELETE" }).catch(() => {});
    throw error;
  }
  while (status.state === "parsing") {
    report(status);
    await pause(POLL_MS);
    status = await patiently(look);
  }
  if (status.state === "failed") throw new Error(status.reason);
  return status;
}
