/** One job: how it stands, what it made, its steps with their commands, and what to do when it failed. */
import { Button, Menu } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { ArrowDownToLine, ArrowUpToLine, Ban, ChevronDown, RotateCcw, Share2 } from "lucide-react";
import { useState } from "react";
import type { Job } from "../api/client";
import { jobQuery, pipelinesQuery, videoQuery } from "../api/queries";
import { cancelJob, isOpen, mayRetry, prioritise, retryJob, seconds, toAll, took } from "../jobs/actions";
import classes from "../jobs/Jobs.module.css";
import { Results } from "../jobs/Results";
import { Share } from "../jobs/Share";
import { Log, Stages, Steps } from "../jobs/Steps";
import { useKeys } from "../lib/keys";
import { ago, exactly } from "../lib/time";
import { ErrorCard } from "../ui/ErrorCard";
import { Page, Skeleton } from "../ui/Page";
import { Status } from "../ui/Status";

export function JobPage() {
  const { id } = useParams({ strict: false }) as { id: string };
  const job = useQuery({ ...jobQuery(id), refetchInterval: (query) => (query.state.data && isOpen(query.state.data.status) ? 2500 : false) });
  if (job.error && !job.data) {
    return (
      <Page title="Job">
        <ErrorCard error={job.error} onRetry={() => void job.refetch()} />
      </Page>
    );
  }
  if (!job.data) {
    return (
      <Page title="Job">
        <Skeleton height={360} what="the job" />
      </Page>
    );
  }
  return <Shown key={id} job={job.data} />;
}

function Shown({ job }: { job: Job }) {
  const navigate = useNavigate();
  const [sharing, setSharing] = useState(false);
  const pipelines = useQuery(pipelinesQuery);
  const video = useQuery(videoQuery(job.video_id));
  const id = job.job_id;
  const open = isOpen(job.status);
  const title = pipelines.data?.items.find((one) => one.name === job.pipeline)?.title ?? job.pipeline;
  const one = (act: (id: string) => Promise<unknown>, said: string) => void toAll([id], act, () => said);
  const missing = job.steps.filter((step) => step.status !== "done").length;
  const place = job.queue_position;
  const length = seconds(job.started_at, job.completed_at);

  useKeys([
    { keys: "r", label: "Retry what is missing", group: "Job", run: () => one(retryJob, "Queued again."), disabled: !mayRetry(job.status) },
    { keys: "s", label: "Share the results", group: "Job", run: () => setSharing(true), disabled: job.status !== "completed" },
    { keys: "g v", label: "Go to its video", group: "Job", run: () => void navigate({ to: "/videos/$id", params: { id: job.video_id } }) },
  ]);

  return (
    <Page
      title={title}
      lead={
        <span className={classes.headline}>
          <Status of={job.status} word={job.status === "queued" && place != null ? (place === 0 ? "Next in the queue" : `Queued, ${place} before it`) : undefined} pct={job.status === "running" ? job.progress_pct : null} />
          <Link to="/videos/$id" params={{ id: job.video_id }} className={classes.link}>
            {video.data?.filename ?? "its video"}
          </Link>
          <span title={exactly(job.created_at)}>{ago(job.created_at)}</span>
          {length !== null && <span className="rm-num">{open ? `at work for ${took(length)}` : `in ${took(length)}`}</span>}
          {job.run > 1 && <span>run {job.run}</span>}
        </span>
      }
      actions={
        <>
          {open && (
            <>
              <Menu position="bottom-end">
                <Menu.Target>
                  <Button variant="default" rightSection={<ChevronDown size={15} />}>Priority {job.priority || "usual"}</Button>
                </Menu.Target>
                <Menu.Dropdown>
                  <Menu.Item leftSection={<ArrowUpToLine size={15} />} onClick={() => one((at) => prioritise(at, 100), "It comes before others now.")}>To the front</Menu.Item>
                  <Menu.Item onClick={() => one((at) => prioritise(at, 0), "It waits as others do.")}>As usual</Menu.Item>
                  <Menu.Item leftSection={<ArrowDownToLine size={15} />} onClick={() => one((at) => prioritise(at, -100), "Others come before it now.")}>To the back</Menu.Item>
                </Menu.Dropdown>
              </Menu>
              <Button variant="default" leftSection={<Ban size={15} />} onClick={() => one(cancelJob, "Cancelled.")}>Cancel</Button>
            </>
          )}
          {job.status === "completed" && (
            <Button variant="default" leftSection={<Share2 size={15} />} onClick={() => setSharing(true)}>Share</Button>
          )}
          {job.pipeline === "clips" && !open && (
            <Button variant="default" component={Link} {...({ to: "/videos/$id/cut", params: { id: job.video_id } } as object)}>New clips</Button>
          )}
          {job.pipeline === "generate" && !open && (
            <Button variant="default" component={Link} {...({ to: "/generate", search: { job: id } } as object)}>Edit its scenes</Button>
          )}
          {mayRetry(job.status) && (
            <Button leftSection={<RotateCcw size={15} />} onClick={() => one(retryJob, "Queued again.")}>
              {job.steps.length > missing && missing ? `Retry what is missing (${missing})` : "Retry"}
            </Button>
          )}
        </>
      }
    >
      {job.error && (
        <div style={{ marginBlockEnd: 16 }}>
          <ErrorCard error={job.error} />
        </div>
      )}
      {job.warnings.length > 0 && (
        <ul className={classes.warnings}>
          {job.warnings.map((warning) => (
            <li key={warning}>{warning}</li>
          ))}
        </ul>
      )}
      <Stages job={job} />
      {job.status === "running" && <p className="rm-dim" role="status" style={{ margin: 0 }}>{job.message}</p>}
      <Results job={job} open={open} />
      <Steps job={job} />
      <Log jobId={id} />
      <section className={classes.section} aria-label="About it">
        <h2>About it</h2>
        <dl className={classes.facts}>
          <Fact name="Job">{id}</Fact>
          <Fact name="Pipeline">{job.pipeline} {job.pipeline_version}</Fact>
          <Fact name="Made by">{job.user_id}</Fact>
          <Fact name="Queued">{job.queued_at ? exactly(job.queued_at) : "not yet"}</Fact>
          <Fact name="Begun">{job.started_at ? exactly(job.started_at) : "not yet"}</Fact>
          <Fact name="Ended">{job.completed_at ? exactly(job.completed_at) : "not yet"}</Fact>
        </dl>
        <details style={{ marginBlockStart: 14 }}>
          <summary style={{ cursor: "pointer" }}>Parameters</summary>
          <pre className={classes.log} tabIndex={0} style={{ padding: 12, marginBlockStart: 8 }}>{JSON.stringify(job.params, null, 2)}</pre>
        </details>
      </section>
      {sharing && <Share jobId={id} onClose={() => setSharing(false)} />}
    </Page>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
