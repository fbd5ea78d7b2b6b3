/** What went wrong, why, and what to do: of every failure, in the same form. */
import { Button, CopyButton } from "@mantine/core";
import { CircleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { ApiError, asApiError } from "../api/client";
import classes from "./ErrorCard.module.css";

interface Props {
  /** An Error, or what a job recorded. */
  error: unknown;
  title?: string;
  onRetry?: () => void;
  /** Further buttons. */
  children?: ReactNode;
  compact?: boolean;
}

export interface Told {
  code: string;
  what: string;
  why?: string;
  remedy?: string;
  correlationId?: string | null;
  fields?: { field: string; message: string }[];
}

/** Anything that tells a failure → its words. */
export function toldOf(error: unknown): Told {
  if (typeof error === "object" && error !== null && "code" in error && !(error instanceof Error)) {
    const { code, detail, what, why, remedy } = error as Record<string, unknown>;
    const text = (one: unknown) => (typeof one === "string" ? one : "");
    return { code: text(code), what: text(detail) || text(what) || text(code), why: text(why), remedy: text(remedy) };
  }
  return asApiError(error);
}

export function ErrorCard({ error, title, onRetry, children, compact = false }: Props) {
  const told = toldOf(error);
  // What is refused is refused again: only what may pass is offered to be tried.
  const retry = onRetry && !(told instanceof ApiError && told.status >= 400 && !told.passing) ? onRetry : undefined;
  return (
    <section className={classes.card} data-compact={compact || undefined} role="alert" data-code={told.code}>
      <CircleAlert className={classes.icon} size={18} aria-hidden />
      <div className={classes.body}>
        <p className={classes.what}>{title ?? told.what}</p>
        {title && title !== told.what && <p>{told.what}</p>}
        {told.why && told.why !== told.what && <p className={classes.why}>{told.why}</p>}
        {told.fields?.map((one) => (
          <p key={one.field} className={classes.why}>
            <code>{one.field}</code> {one.message}
          </p>
        ))}
        {told.remedy && (
          <p className={classes.remedy}>
            <strong>What to do</strong> {told.remedy}
          </p>
        )}
        {(retry || children) && (
          <div className={classes.actions}>
            {retry && (
              <Button size="xs" variant="default" onClick={retry}>
                Try again
              </Button>
            )}
            {children}
          </div>
        )}
        <p className={classes.code}>
          <code>{told.code}</code>
          {told.correlationId && (
            <CopyButton value={told.correlationId}>
              {({ copied, copy }) => (
                <button type="button" onClick={copy} className={classes.copy}>
                  {copied ? "Copied" : "Copy request id"}
                </button>
              )}
            </CopyButton>
          )}
        </p>
      </div>
    </section>
  );
}
