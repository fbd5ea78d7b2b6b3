/** SHA-256 of a piece of a file, away from the page's own thread. */
self.onmessage = async (event: MessageEvent<{ id: number; piece: Blob }>) => {
  const { id, piece } = event.data;
  try {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await piece.arrayBuffer()));
    self.postMessage({ id, sha256: Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") });
  } catch (error) {
    self.postMessage({ id, error: error instanceof Error ? error.name : String(error) });
  }
};
