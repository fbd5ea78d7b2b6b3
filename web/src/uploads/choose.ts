/** Ask the person for files. */

const wanting = new Set<(files: File[]) => void>();

/** Say what is to be done with chosen or dropped files; returns what ends it. */
export function onFiles(listener: (files: File[]) => void): () => void {
  wanting.add(listener);
  return () => wanting.delete(listener);
}

export function give(files: File[]): void {
  for (const listener of wanting) listener(files);
}

/** Open the browser's file chooser. */
export function chooseFiles(): void {
  const input = document.createElement("input");
  input.type = "file";
  input.multiple = true;
  input.accept = "video/*,.mkv,.ts,.mxf,.png,.jpg,.jpeg,.webp";
  input.onchange = () => give([...(input.files ?? [])]);
  input.click();
}
