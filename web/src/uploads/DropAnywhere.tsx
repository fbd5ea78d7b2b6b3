/** Files may be dropped anywhere on any page. */
import { UploadCloud } from "lucide-react";
import { useEffect, useState } from "react";
import classes from "./DropAnywhere.module.css";
import { add } from "./uploads";

type Opening = DataTransferItem & { getAsFileSystemHandle?: () => Promise<FileSystemHandle | null> };

/** What was dropped, with what opens it again after a reload, where the browser gives that. */
async function dropped(items: Opening[]): Promise<{ file: File; handle?: FileSystemFileHandle }[]> {
  // Both must be asked for before the first await: the list is emptied after the event.
  const asked = items.filter((item) => item.kind === "file").map((item) => ({ file: item.getAsFile(), handle: item.getAsFileSystemHandle?.() }));
  const found = await Promise.all(
    asked.map(async ({ file, handle }) => {
      const opened = await handle?.catch(() => null);
      if (opened?.kind === "directory" || !file) return null;
      return { file, ...(opened ? { handle: opened as FileSystemFileHandle } : {}) };
    }),
  );
  return found.filter((one) => one !== null);
}

export function DropAnywhere() {
  const [over, setOver] = useState(false);
  useEffect(() => {
    let depth = 0;
    const carries = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const enter = (event: DragEvent) => {
      if (!carries(event)) return;
      depth += 1;
      setOver(true);
    };
    const leave = (event: DragEvent) => {
      if (!carries(event)) return;
      depth = Math.max(0, depth - 1);
      if (depth === 0) setOver(false);
    };
    const hover = (event: DragEvent) => {
      if (carries(event)) event.preventDefault();
    };
    const drop = (event: DragEvent) => {
      if (!carries(event)) return;
      event.preventDefault();
      depth = 0;
      setOver(false);
      void dropped([...(event.dataTransfer?.items ?? [])]).then((files) => add(files));
    };
    const all = { dragenter: enter, dragleave: leave, dragover: hover, drop } as const;
    for (const [name, listener] of Object.entries(all)) window.addEventListener(name, listener as EventListener);
    return () => {
      for (const [name, listener] of Object.entries(all)) window.removeEventListener(name, listener as EventListener);
    };
  }, []);
  if (!over) return null;
  return (
    <div className={classes.veil}>
      <div className={classes.card}>
        <UploadCloud size={36} aria-hidden />
        <strong>Drop to upload</strong>
        <span>Straight into storage, in parallel parts.</span>
      </div>
    </div>
  );
}
