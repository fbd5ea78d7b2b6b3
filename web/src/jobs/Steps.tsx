/** A job's steps by stage: when each ran and for how long, the exact command, and what went wrong. */
import { ActionIcon, CopyButton } from "@mantine/core";
import { Check, ChevronRight, Copy } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { type Job, type Schemas } from "../api/client";
import { useJobEvents } from "../api/live";
import { ErrorCard } from "../ui/ErrorCard";
import { Status, type Standing } from "../ui/Status";
import { isOpen, seconds, took } from "./actions";
import classes from "./Jobs.module.css";

type Step = Schemas["StepReply"];
const AS: Record<Step["status"], { of: Standing; word?: string }> = {
  ready: { of: "queued", word: "Waits" },
  running: { of: "running" },
  done: { of: "completed", word: "Done" },
  failed: { of: "failed" },
  cancelled: { of: "cancelled" },
};
const FIRST = 40;

/** Each stage with its share of the work, how many of its steps are done, and how long it took. */
export function Stages({ job }: { job: Job }) {
  return (
    <ol className={classes.stages} aria-label="Stages">
      {job.stages.map((stage, n) => {
        const mine = job.steps.filter((one) => one.stage === stage.name);
        const finished = mine.filter((one) => one.status === "done");
        const present = job.stages.findIndex((one) => one.name === job.stage);
        const ended = job.status === "completed" || (present > n && mine.length === finished.length);
        const share = ended ? 1 : mine.length ? mine.reduce((sum, one) => sum + (one.status === "done" ? 1 : one.status === "running" ? one.progress : 0), 0) / mine.length : 0;
        const from = mine.map((one) => one.started_at).filter(Boolean).sort()[0];
        const to = ended || !isOpen(job.status) ? mine.map((one) => one.finished_at).filter(Boolean).sort().at(-1) : null;
        const state = mine.some((one) => one.status === "failed") ? "failed" : ended ? "done" : share > 0 || present === n ? "now" : "later";
        return (
          <li key={stage.name} className={classes.stage} data-state={state} style={{ flex: Math.max(12, stage.weight) }}>
            <div className={classes.bar} role="progressbar" aria-label={`Stage ${stage.name}`} aria-valuenow={Math.round(share * 100)} aria-valuemin={0} aria-valuemax={100}>
              <div style={{ width: `${share * 100}%` }} />
            </div>
            <div>
              <b>{stage.name}</b>
              <span className="rm-num">{[mine.length ? `${finished.length}/${mine.length}` : "", took(seconds(from, to))].filter(Boolean).join(" · ")}</span>
            </div>
          </li>
        );
      })}
    </ol>
  );
}

export function Steps({ job }: { job: Job }) {
  const [shown, setShown] = useState(FIRST);
  // What went wrong first, then what is at work.
  const rank = { failed: 0, running: 1, cancelled: 2, ready: 3, done: 4 };
  const ordered = [...job.steps].sort((a, b) => rank[a.status] - rank[b.status] || job.stages.findIndex((s) => s.name === a.stage) - job.stages.findIndex((s) => s.name === b.stage) || a.index - b.index);
  if (!ordered.length) return null;
  return (
    <section className={classes.section} aria-label="Steps">
      <h2>Steps</h2>
      <div className={classes.steps}>
        {ordered.slice(0, shown).map((step) => (
          <details key={step.step_id} className={classes.step}>
            <summary>
              <span style={{ display: "flex", alignItems: "center", gap: 6 }}>
                <ChevronRight size={14} aria-hidden />
                {step.stage} {step.index + 1}
              </span>
              <Status {...AS[step.status]} pct={step.status === "running" ? step.progress * 100 : null} />
              <span className={classes.message}>{step.error?.detail ?? (step.attempts.length > 1 ? `${step.attempts.length} attempts` : "")}</span>
              <span className="rm-num rm-dim">{took(seconds(step.started_at, step.status === "running" ? null : step.finished_at))}</span>
            </summary>
            <div className={classes.detail}>
              {step.error && <ErrorCard error={step.error} compact />}
              {step.attempts.map((attempt) => (
                <div key={attempt.attempt} className={classes.attempt}>
                  <span className="rm-dim">
                    Attempt {attempt.attempt}, {attempt.outcome ?? "at work"} on {attempt.worker_id} {took(seconds(attempt.started_at, attempt.ended_at))}
                    {attempt.versions && ` · ${Object.entries(attempt.versions).map(([name, version]) => `${name} ${version}`).join(", ")}`}
                  </span>
                  {attempt.command && <Command text={attempt.command} />}
                  {attempt.stderr && <pre className={classes.log} tabIndex={0} style={{ padding: 10 }}>{attempt.stderr}</pre>}
                </div>
              ))}
              {!step.attempts.length && <span className="rm-dim">Nobody has begun it yet.</span>}
            </div>
          </details>
        ))}
      </div>
      {shown < ordered.length && (
        <button type="button" style={{ border: 0, background: "none", padding: 10, color: "var(--rm-accent-text)", cursor: "pointer", font: "inherit" }} onClick={() => setShown(shown + 200)}>
          Show {Math.min(200, ordered.length - shown)} more of {ordered.length} steps
        </button>
      )}
    </section>
  );
}

function Command({ text }: { text: string }) {
  return (
    <div className={classes.command}>
      <pre tabIndex={0} aria-label="Command">{text}</pre>
      <CopyButton value={text}>
        {({ copied, copy }) => (
          <ActionIcon size={28} variant="default" aria-label={copied ? "Copied" : "Copy the command"} onClick={copy}>
            {copied ? <Check size={14} /> : <Copy size={14} />}
          </ActionIcon>
        )}
      </CopyButton>
    </div>
  );
}

const TYPES = [
  "job.created", "job.queued", "job.started", "job.completed", "job.failed", "job.cancelled", "job.retried", "job.priority", "step.done", "step.failed", "step.again",
  "step.crashed", "step.released", "step.redo", "artifact.stored",
];

interface Told {
  seq: number;
  type: string;
  at: string;
}

/** What happened, as it happens. */
export function Log({ jobId }: { jobId: string }) {
  const [told, setTold] = useState<Told[]>([]);
  const box = useRef<HTMLDivElement>(null);
  const stuck = useRef(true);
  useJobEvents(
    jobId,
    (_, data) => {
      const one = data as unknown as Told;
      setTold((now) => (now.some((other) => other.seq === one.seq) ? now : [...now, one].slice(-400)));
    },
    TYPES,
  );
  useEffect(() => {
    if (stuck.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [told.length]);
  if (!told.length) return null;
  return (
    <section className={classes.section} aria-label="What happened">
      <h2>What happened</h2>
      <div
        ref={box}
        className={classes.log}
        role="log"
        tabIndex={0}
        onScroll={(event) => {
          const it = event.currentTarget;
          stuck.current = it.scrollTop + it.clientHeight > it.scrollHeight - 8;
        }}
      >
        <ol>
          {told.map((one) => (
            <li key={one.seq}>
              <time dateTime={one.at}>{new Date(one.at).toLocaleTimeString("en-GB")}</time>
              <span>{one.type}</span>
              <span>{words(one)}</span>
            </li>
          ))}
        </ol>
      </div>
    </section>
  );
}

function words({ seq: _, type: __, at: ___, ...rest }: Told): string {
  return Object.entries(rest)
    .filter(([, value]) => value !== null && value !== "" && typeof value !== "object")
    .map(([name, value]) => (name === "message" || name === "detail" ? String(value) : `${name.replace(/_/g, " ")} ${String(value)}`))
    .join(", ");
}
