/** What a job made, to be looked at and sorted: films play where they stand, as soon as each is made. */
import { ActionIcon, Button, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Download, FileText, ThumbsDown, ThumbsUp } from "lucide-react";
import { useEffect, useMemo, useRef, useState } from "react";
import { at, type Job, type Schemas } from "../api/client";
import { soon } from "../api/live";
import { artifactsQuery } from "../api/queries";
import { useKeys } from "../lib/keys";
import { bytes, timecode } from "../lib/time";
import { ErrorCard } from "../ui/ErrorCard";
import { Skeleton } from "../ui/Page";
import classes from "./Jobs.module.css";

type Artifact = Schemas["ArtifactReply"];
type Mark = "keep" | "reject";

/** One file through the API, which sends the browser on to storage; also while the job still runs. */
export const fileOf = (jobId: string, ...artifacts: string[]) => at(`/api/v1/jobs/${jobId}/download?${artifacts.map((one) => `artifact=${encodeURIComponent(one)}`).join("&")}`);

/** Which results are kept and which rejected: a reviewer's pencil marks, in this browser. */
function useMarks(jobId: string) {
  const name = `reelmill.marks.${jobId}`;
  const [marks, setMarks] = useState<Record<string, Mark>>(() => {
    try {
      return JSON.parse(localStorage.getItem(name) ?? "{}") as Record<string, Mark>;
    } catch {
      return {};
    }
  });
  const mark = (id: string, as: Mark) =>
    setMarks((now) => {
      const { [id]: before, ...rest } = now;
      const next = before === as ? rest : { ...rest, [id]: as };
      localStorage.setItem(name, JSON.stringify(next));
      return next;
    });
  return { marks, mark };
}

const number = (value: unknown) => (typeof value === "number" ? value : null);

export function Results({ job, open }: { job: Job; open: boolean }) {
  const artifacts = useQuery(artifactsQuery(job.job_id));
  // A result comes with the step that made it: however the page learnt of the step, it asks for the result.
  const done = job.steps.filter((step) => step.status === "done").length;
  useEffect(() => soon(["artifacts", job.job_id]), [job.job_id, job.status, job.run, done]);
  const { marks, mark } = useMarks(job.job_id);
  const [current, setCurrent] = useState(0);
  const list = useRef<HTMLUListElement>(null);
  const all = useMemo(() => artifacts.data?.items ?? [], [artifacts.data]);
  const stills = useMemo(() => new Map(all.filter((one) => one.kind === "thumbnail" && one.meta.of).map((one) => [String(one.meta.of), one])), [all]);
  const films = all.filter((one) => one.primary && one.content_type.startsWith("video/"));
  const files = all.filter((one) => !films.includes(one) && !(one.kind === "thumbnail" && one.meta.of));
  const kept = films.filter((one) => marks[one.id] === "keep");
  const rejected = films.filter((one) => marks[one.id] === "reject");

  const go = (to: number) => {
    const next = Math.min(films.length - 1, Math.max(0, to));
    setCurrent(next);
    list.current?.querySelectorAll<HTMLElement>("[data-frame]")[next]?.focus();
  };
  const here = films[current];
  const judge = (as: Mark) => {
    if (!here) return;
    mark(here.id, as);
    if (marks[here.id] !== as) go(current + 1);
  };
  useKeys([
    { keys: "arrowright", label: "Next result", group: "Results", run: () => go(current + 1), quiet: true, disabled: !films.length },
    { keys: "arrowleft", label: "Result before", group: "Results", run: () => go(current - 1), quiet: true, disabled: !films.length },
    { keys: "k", label: "Keep", group: "Results", run: () => judge("keep"), disabled: !films.length },
    { keys: "x", label: "Reject", group: "Results", run: () => judge("reject"), disabled: !films.length },
  ]);

  if (artifacts.error) return job.status === "completed" ? <ErrorCard error={artifacts.error} /> : null;
  if (artifacts.isPending) return <Skeleton height={180} what="results" />;
  if (!all.length) return null;
  const wanted = kept.length ? kept : films.filter((one) => marks[one.id] !== "reject");
  return (
    <section className={classes.section} aria-label="Results">
      <h2>Results</h2>
      {films.length > 0 && (
        <ul className={classes.grid} ref={list}>
          {films.map((one, n) => (
            <Film key={one.id} one={one} job={job} still={stills.get(one.name)} mark={marks[one.id]} isCurrent={n === current} onMark={(as) => mark(one.id, as)} onFocus={() => setCurrent(n)} />
          ))}
        </ul>
      )}
      {films.length > 1 && (
        <div className={classes.reviewed}>
          <span role="status">
            {kept.length || rejected.length ? `${kept.length} kept, ${rejected.length} rejected of ${films.length}` : `${films.length} films; K keeps, X rejects`}
          </span>
          <Button component="a" href={kept.length || rejected.length ? fileOf(job.job_id, ...wanted.map((one) => one.id)) : open ? fileOf(job.job_id, ...films.map((one) => one.id)) : at(`/api/v1/jobs/${job.job_id}/download`)} download leftSection={<Download size={16} />} size="xs" disabled={!wanted.length}>
            {kept.length ? `Download the ${kept.length} kept` : rejected.length ? `Download ${wanted.length}` : "Download all"}
          </Button>
        </div>
      )}
      {files.length > 0 && (
        <ul className={classes.grid} style={{ marginBlockStart: 16 }} aria-label="Files">
          {files.map((one) => (
            <li key={one.id} className={classes.card}>
              <div className={classes.caption}>
                <FileText size={16} aria-hidden style={{ flex: "none", marginInlineEnd: 8 }} />
                <div>
                  <b title={one.name}>{one.name}</b>
                  <small>{one.kind.replace(/_/g, " ")}, {bytes(one.size)}</small>
                </div>
                <ActionIcon component="a" href={fileOf(job.job_id, one.id)} download aria-label={`Download ${one.name}`}>
                  <Download size={16} />
                </ActionIcon>
              </div>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

interface FilmProps {
  one: Artifact;
  job: Job;
  still?: Artifact;
  mark?: Mark;
  isCurrent: boolean;
  onMark: (as: Mark) => void;
  onFocus: () => void;
}

function Film({ one, job, still, mark, isCurrent, onMark, onFocus }: FilmProps) {
  const film = useRef<HTMLVideoElement>(null);
  const length = number(one.meta.clip_duration_s) ?? number(one.meta.duration_s);
  const text = typeof one.meta.text === "string" ? one.meta.text : null;
  const toggle = () => {
    const it = film.current;
    if (!it) return;
    for (const other of document.querySelectorAll("video")) if (other !== it) other.pause();
    if (it.paused) void it.play().catch(() => undefined);
    else it.pause();
  };
  return (
    <li className={classes.card} data-mark={mark} data-current={isCurrent || undefined} onFocusCapture={onFocus}>
      <button type="button" data-frame className={classes.frame} onClick={toggle} aria-label={`Play or pause ${one.name}${length === null ? "" : `, ${timecode(length, 1)}`}`}>
        {/* biome-ignore lint: clips have no captions, their text is in the picture */}
        <video ref={film} src={fileOf(job.job_id, one.id)} poster={still ? fileOf(job.job_id, still.id) : undefined} preload={still ? "none" : "metadata"} playsInline loop tabIndex={-1} />
        {length !== null && <span className={classes.length}>{timecode(length, 1)}</span>}
      </button>
      <div className={classes.caption}>
        <div>
          <b title={text ?? one.name}>{text ?? one.name}</b>
          <small>{text ? `${one.name}, ${bytes(one.size)}` : bytes(one.size)}</small>
        </div>
        <Tooltip label="Keep (K)">
          <ActionIcon aria-label={`Keep ${one.name}`} aria-pressed={mark === "keep"} variant={mark === "keep" ? "light" : "subtle"} color={mark === "keep" ? "teal" : "gray"} onClick={() => onMark("keep")}>
            <ThumbsUp size={16} />
          </ActionIcon>
        </Tooltip>
        <Tooltip label="Reject (X)">
          <ActionIcon aria-label={`Reject ${one.name}`} aria-pressed={mark === "reject"} variant={mark === "reject" ? "light" : "subtle"} color={mark === "reject" ? "red" : "gray"} onClick={() => onMark("reject")}>
            <ThumbsDown size={16} />
          </ActionIcon>
        </Tooltip>
        <Tooltip label="Download">
          <ActionIcon component="a" href={fileOf(job.job_id, one.id)} download aria-label={`Download ${one.name}`}>
            <Download size={16} />
          </ActionIcon>
        </Tooltip>
      </div>
    </li>
  );
}
