/** What is remembered of uploads that haven't ended, in IndexedDB: enough to go on after a reload. */

export interface UploadRecord {
  videoId: string;
  filename: string;
  size: number;
  lastModified: number;
  edges: string | null;
  startedAt: number;
  /** Opens the file again by one click, where the browser gives such. */
  handle?: FileSystemFileHandle;
}

const NAME = "reelmill";
const STORE = "uploads";

function opened(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore(STORE, { keyPath: "videoId" });
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

async function act<T>(mode: IDBTransactionMode, what: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const database = await opened();
  try {
    return await new Promise<T>((resolve, reject) => {
      const asked = what(database.transaction(STORE, mode).objectStore(STORE));
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(asked.error);
    });
  } finally {
    database.close();
  }
}

// A browser that keeps nothing (private windows) uploads all the same: it only can't go on after a reload.
export const records = {
  all: () => act("readonly", (store) => store.getAll() as IDBRequest<UploadRecord[]>).catch(() => []),
  put: (record: UploadRecord) => act("readwrite", (store) => store.put(record)).catch(() => undefined),
  remove: (videoId: string) => act("readwrite", (store) => store.delete(videoId)).catch(() => undefined),
};
