/** The film that was ordered: how far it is, then the film itself. */
import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Ban, Download, FileText } from "lucide-react";
import type { Job } from "../api/client";
import { artifactsQuery } from "../api/queries";
import classes from "../clips/Clips.module.css";
import { cancelJob, isOpen, retryJob, toAll } from "../jobs/actions";
import { fileOf } from "../jobs/Results";
import { ErrorCard } from "../ui/ErrorCard";
import { Status } from "../ui/Status";
import own from "./Making.module.css";

interface Props {
  job: Job;
  aspect: number;
  /** It has no scenes to edit yet: open those that were written. */
  onOpen?: () => void;
}

export function MadeFilm({ job, aspect, onOpen }: Props) {
  const open = isOpen(job.status);
  const artifacts = useQuery({ ...artifactsQuery(job.job_id), enabled: job.status === "completed" });
  const films = artifacts.data?.items.filter((one) => one.primary && one.content_type.startsWith("video/")) ?? [];
  const best = films[0];
  const captions = artifacts.data?.items.find((one) => one.kind === "captions");
  const poster = artifacts.data?.items.find((one) => one.kind === "poster");
  const drawn = job.steps.filter((one) => one.kind === "scene");
  const reused = drawn.filter((one) => one.reused_from).length;
  const via = (id: string) => `${fileOf(job.job_id, id)}&via=api`;
  return (
    <section className={classes.panel} aria-label="The film">
      <h2 className={own.filmHead}>
        The film
        <Status of={job.status} pct={job.status === "running" ? job.progress_pct : null} />
      </h2>
      {open && (
        <>
          <div className={own.bar} role="progressbar" aria-label="Progress of the film" aria-valuenow={Math.floor(job.progress_pct)} aria-valuemin={0} aria-valuemax={100}>
            <span style={{ inlineSize: `${job.progress_pct}%` }} />
          </div>
          <p className={classes.lead} role="status">{job.message || "It waits for a worker."}</p>
          <Button size="xs" variant="default" leftSection={<Ban size={14} />} onClick={() => void toAll([job.job_id], cancelJob, () => "Cancelled.")}>Cancel</Button>
        </>
      )}
      {job.error && (
        <ErrorCard error={job.error} compact>
          <Button size="xs" variant="default" onClick={() => void toAll([job.job_id], retryJob, () => "Queued again.")}>Retry what is missing</Button>
        </ErrorCard>
      )}
      {best && (
        <video className={own.film} controls playsInline preload="metadata" style={{ aspectRatio: aspect }} src={fileOf(job.job_id, best.id)} poster={poster && fileOf(job.job_id, poster.id)} aria-label="The finished film" data-film>
          {captions && <track kind="captions" label="Captions" src={via(captions.id)} />}
        </video>
      )}
      {job.status === "completed" && (
        <>
          <p className={classes.lead} role="status">
            {reused ? `${drawn.length - reused} of ${drawn.length} scenes ${drawn.length - reused === 1 ? "was" : "were"} made, ${reused} taken over.` : `${drawn.length} ${drawn.length === 1 ? "scene was" : "scenes were"} made.`}
          </p>
          <div className={own.links}>
            {onOpen && <Button size="xs" leftSection={<FileText size={14} />} onClick={onOpen}>Open its scenes</Button>}
            {films.map((one) => (
              <Button key={one.id} size="xs" variant="default" component="a" href={fileOf(job.job_id, one.id)} download leftSection={<Download size={14} />}>
                {String(one.meta.quality ?? one.name)}
              </Button>
            ))}
            <Button size="xs" variant="default" component={Link} {...({ to: "/videos/$id", params: { id: job.video_id } } as object)}>To its video</Button>
          </div>
        </>
      )}
      <p className={classes.lead}>
        <Link to="/jobs/$id" params={{ id: job.job_id }}>Its job, step by step</Link>
      </p>
    </section>
  );
}
