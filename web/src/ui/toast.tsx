/** Short words at the edge: done, undone, failed. */
import { Button, Group } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { toldOf } from "./ErrorCard";

export const UNDO_MS = 10_000;

export function done(message: string): void {
  notifications.show({ message, autoClose: 4000, color: "iris" });
}

export function failed(error: unknown, title?: string): void {
  const told = toldOf(error);
  notifications.show({ color: "red", title: title ?? told.what, message: [title ? told.what : told.why, told.remedy].filter(Boolean).join(" "), autoClose: 12_000 });
}

/** Say what was done, and offer to undo it for ten seconds. */
export function undoable(message: string, undo: () => void): void {
  const id = `undo-${Math.random()}`;
  notifications.show({
    id,
    color: "iris",
    autoClose: UNDO_MS,
    message: (
      <Group justify="space-between" wrap="nowrap">
        <span>{message}</span>
        <Button
          size="compact-sm"
          variant="light"
          onClick={() => {
            notifications.hide(id);
            undo();
          }}
        >
          Undo
        </Button>
      </Group>
    ),
  });
}
