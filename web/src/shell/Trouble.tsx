/** A page that there isn't, and one that broke. */
import { Button } from "@mantine/core";
import { Link, useRouter } from "@tanstack/react-router";
import { Film } from "lucide-react";
import { ErrorCard } from "../ui/ErrorCard";
import { Empty, Page } from "../ui/Page";

export function NotFound() {
  return (
    <Page title="There is nothing here">
      <Empty icon={<Film />} title="This address leads nowhere" actions={<Button component={Link} to="/">To the library</Button>}>
        The link may be old, or what it led to was deleted.
      </Empty>
    </Page>
  );
}

export function Trouble({ error, reset }: { error: unknown; reset?: () => void }) {
  const router = useRouter();
  return (
    <Page title="This page didn't open">
      <ErrorCard
        error={error}
        onRetry={() => {
          reset?.();
          void router.invalidate();
        }}
      />
    </Page>
  );
}
