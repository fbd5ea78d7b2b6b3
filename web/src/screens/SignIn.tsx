/** The door: a key, or the one-time link that `reelmill serve` prints. */
import { Button, PasswordInput } from "@mantine/core";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Clapperboard } from "lucide-react";
import { type FormEvent, useEffect, useState } from "react";
import { BASE, session } from "../api/client";
import { client, sessionQuery } from "../api/queries";
import { ErrorCard } from "../ui/ErrorCard";
import classes from "./SignIn.module.css";

const PROBLEMS: Record<string, string> = {
  link: "This sign-in link was used before, or isn't valid. Start the server again for a new one, or use a key.",
  ended: "You were signed out: the sign-in has ended, or its key was revoked.",
};

/** A path of this UI, and never another site's. */
function inside(to: string | undefined): string {
  if (!to?.startsWith("/") || to.startsWith("//") || to.startsWith("/\\")) return "/";
  return to.startsWith(BASE) ? `/${to.slice(BASE.length)}` : to;
}

export function SignIn() {
  const search = useSearch({ from: "/sign-in" });
  const navigate = useNavigate();
  const [key, setKey] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    document.title = "Sign in · Reelmill";
  }, []);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const who = await session.signIn(key);
      client.clear();
      client.setQueryData(sessionQuery.queryKey, who);
      await navigate({ href: BASE.slice(0, -1) + inside(search.to) });
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className={classes.page}>
      <div className={classes.card}>
        <div className={classes.brand}>
          <Clapperboard size={26} aria-hidden />
          Reelmill
        </div>
        <h1 className={classes.title}>Sign in</h1>
        {search.problem && PROBLEMS[search.problem] && (
          <p className={classes.problem} role="status">
            {PROBLEMS[search.problem]}
          </p>
        )}
        <form onSubmit={(event) => void submit(event)} className={classes.form}>
          <PasswordInput label="API key" placeholder="rm_…" autoComplete="current-password" autoFocus required value={key} onChange={(event) => setKey(event.currentTarget.value)} size="md" />
          <Button type="submit" size="md" loading={busy} fullWidth>
            Sign in
          </Button>
        </form>
        {error != null && <ErrorCard error={error} compact />}
        <details className={classes.help}>
          <summary>Where do I get a key?</summary>
          <p>
            On the server's own machine, <code>reelmill serve</code> prints a link that signs you in once. A key is made by:
          </p>
          <pre>reelmill keys create me --scope admin</pre>
        </details>
      </div>
    </main>
  );
}
