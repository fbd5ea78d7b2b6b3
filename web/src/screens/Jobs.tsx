/** All jobs, live: filters in the address, one's place in the queue, and what can be done to one or to many. */
import { ActionIcon, Button, Checkbox, Menu, Select, Tooltip } from "@mantine/core";
import { useInViewport } from "@mantine/hooks";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { ArrowDownToLine, ArrowUpToLine, Ban, ListVideo, MoreHorizontal, RotateCcw } from "lucide-react";
import { memo, useMemo, useState } from "react";
import { api, body, type JobSummary, type Video } from "../api/client";
import { type JobFilter, jobsQuery, pipelinesQuery, videosQuery } from "../api/queries";
import { posterOf } from "../clips/queries";
import { cancelJob, isOpen, mayRetry, prioritise, retryJob, seconds, toAll, took } from "../jobs/actions";
import classes from "../jobs/Jobs.module.css";
import { useKeys } from "../lib/keys";
import { ago, exactly } from "../lib/time";
import { useStable } from "../lib/useStable";
import { ErrorCard } from "../ui/ErrorCard";
import { Empty, Page, Skeleton } from "../ui/Page";
import { Status } from "../ui/Status";

const STATUSES = [
  { value: "running", label: "Running" },
  { value: "queued", label: "Queued" },
  { value: "awaiting_upload", label: "Awaiting upload" },
  { value: "completed", label: "Ready" },
  { value: "failed", label: "Failed" },
  { value: "cancelled", label: "Cancelled" },
];

export function JobsPage() {
  const search = useSearch({ strict: false }) as { status?: JobFilter["status"]; pipeline?: string };
  const navigate = useNavigate();
  const pipelines = useQuery(pipelinesQuery);
  const jobs = useInfiniteQuery(jobsQuery({ status: search.status, pipeline: search.pipeline }));
  const videos = useInfiniteQuery(videosQuery());
  const known = useMemo(() => new Map(videos.data?.pages.flatMap((page) => page.items).map((one) => [one.id, one])), [videos.data]);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const all = useMemo(() => {
    const items = jobs.data?.pages.flatMap((page) => page.items) ?? [];
    return search.status ? items.filter((one) => one.status === search.status) : items;
  }, [jobs.data, search.status]);
  const titles = useMemo(() => new Map(pipelines.data?.items.map((one) => [one.name, one.title])), [pipelines.data]);

  const filter = (change: Partial<typeof search>) => void navigate({ to: "/jobs", search: { ...search, ...change } });
  const onChoose = useStable((id: string, on: boolean) =>
    setChosen((now) => {
      const next = new Set(now);
      if (on) next.add(id);
      else next.delete(id);
      return next;
    }),
  );
  const picked = all.filter((one) => chosen.has(one.job_id));
  const open = picked.filter((one) => isOpen(one.status)).map((one) => one.job_id);
  const over = picked.filter((one) => mayRetry(one.status)).map((one) => one.job_id);
  const count = (n: number, what: string) => `${n} ${n === 1 ? "job" : "jobs"} ${what}.`;
  const clear = () => setChosen(new Set());

  useKeys([
    { keys: "mod+a", label: "Choose all jobs", group: "Jobs", run: () => setChosen(new Set(all.map((one) => one.job_id))) },
    { keys: "escape", label: "Choose none", group: "Jobs", run: clear, quiet: true, disabled: chosen.size === 0 },
  ]);

  return (
    <Page
      title="Jobs"
      actions={
        <>
          <Select aria-label="Status" placeholder="Any status" clearable data={STATUSES} value={search.status ?? null} onChange={(one) => filter({ status: (one ?? undefined) as JobFilter["status"] })} w={150} />
          <Select aria-label="Pipeline" placeholder="Any pipeline" clearable data={pipelines.data?.items.map(({ name, title }) => ({ value: name, label: title })) ?? []} value={search.pipeline ?? null} onChange={(one) => filter({ pipeline: one ?? undefined })} w={176} />
        </>
      }
    >
      {jobs.error && <ErrorCard error={jobs.error} onRetry={() => void jobs.refetch()} />}
      {jobs.isPending && <Skeleton height={320} what="jobs" />}
      {jobs.data && all.length === 0 && (
        <Empty
          icon={<ListVideo size={26} />}
          title={search.status || search.pipeline ? "No job is like that" : "No jobs yet"}
          actions={
            search.status || search.pipeline ? (
              <Button variant="default" onClick={() => filter({ status: undefined, pipeline: undefined })}>Show all jobs</Button>
            ) : (
              <Button component={Link} to="/">To the library</Button>
            )
          }
        >
          {search.status || search.pipeline ? "Change the filter, or show them all." : "Open a video and make clips of it; what is at work is shown here as it happens."}
        </Empty>
      )}
      {picked.length > 0 && (
        <div className={classes.bulk} role="toolbar" aria-label="Chosen jobs">
          <strong>{count(picked.length, "chosen")}</strong>
          <Button size="xs" variant="default" leftSection={<Ban size={14} />} disabled={!open.length} onClick={() => void toAll(open, cancelJob, (n) => count(n, "cancelled")).then(clear)}>
            Cancel {open.length || ""}
          </Button>
          <Button size="xs" variant="default" leftSection={<RotateCcw size={14} />} disabled={!over.length} onClick={() => void toAll(over, retryJob, (n) => count(n, "queued again")).then(clear)}>
            Retry {over.length || ""}
          </Button>
          <Button size="xs" variant="default" leftSection={<ArrowUpToLine size={14} />} disabled={!open.length} onClick={() => void toAll(open, (id) => prioritise(id, 100), (n) => count(n, "moved to the front")).then(clear)}>
            To the front
          </Button>
          <Button size="xs" variant="subtle" color="gray" onClick={clear}>Choose none</Button>
        </div>
      )}
      {all.length > 0 && (
        <ul className={classes.list} aria-label="Jobs">
          {all.map((job) => (
            <Row key={job.job_id} job={job} video={known.get(job.video_id)} title={titles.get(job.pipeline) ?? job.pipeline} isChosen={chosen.has(job.job_id)} onChoose={onChoose} />
          ))}
        </ul>
      )}
      {jobs.hasNextPage && (
        <Button variant="default" mt="md" fullWidth loading={jobs.isFetchingNextPage} onClick={() => void jobs.fetchNextPage()}>
          Show older jobs
        </Button>
      )}
    </Page>
  );
}

/** Its place among those that wait; asked for while it can be seen, for hundreds may wait. */
function Place({ id }: { id: string }) {
  const { ref, inViewport } = useInViewport<HTMLSpanElement>();
  const status = useQuery({
    queryKey: ["job-status", id],
    enabled: inViewport,
    queryFn: ({ signal }) => body(api.GET("/api/v1/jobs/{job_id}/status", { signal, params: { path: { job_id: id } } })),
    refetchInterval: 5000,
  });
  const place = status.data?.queue_position;
  return (
    <span ref={ref}>
      <Status of="queued" word={place == null ? undefined : place === 0 ? "Next" : `Queued, ${place} before`} />
    </span>
  );
}

interface RowProps {
  job: JobSummary;
  video?: Video;
  title: string;
  isChosen: boolean;
  onChoose: (id: string, on: boolean) => void;
}

const Row = memo(function Row({ job, video, title, isChosen, onChoose }: RowProps) {
  const id = job.job_id;
  const name = video?.filename ?? `Video ${job.video_id.slice(0, 8)}`;
  const length = seconds(job.started_at, job.completed_at);
  const one = (act: (id: string) => Promise<unknown>, said: string) => void toAll([id], act, () => said);
  return (
    <li className={classes.job} data-chosen={isChosen || undefined} data-job={id} data-status={job.status}>
      <Checkbox aria-label={`Choose ${title} of ${name}`} checked={isChosen} onChange={(event) => onChoose(id, event.currentTarget.checked)} />
      <img className={classes.thumb} src={video && video.upload_status !== "uploaded" ? undefined : posterOf(job.video_id, 160)} alt="" loading="lazy" onError={(event) => event.currentTarget.removeAttribute("src")} />
      <div className={classes.what}>
        <Link to="/jobs/$id" params={{ id }} className={classes.link}>
          {title}
        </Link>
        <span className={classes.of} title={name}>{name}</span>
      </div>
      <div className={classes.state}>{job.status === "queued" ? <Place id={id} /> : <Status of={job.status} pct={job.status === "running" ? job.progress_pct : null} />}</div>
      <div className={classes.now}>
        {job.status === "running" ? (
          <>
            <div className={classes.bar} role="progressbar" aria-label={`Progress of ${name}`} aria-valuenow={Math.floor(job.progress_pct)} aria-valuemin={0} aria-valuemax={100}>
              <div style={{ width: `${job.progress_pct}%` }} />
            </div>
            <span className={classes.message}>{job.message}</span>
          </>
        ) : (
          <span className={classes.message}>{job.error ? job.error.detail : job.warnings.length ? job.warnings[0] : length !== null && job.status === "completed" ? `in ${took(length)}` : job.message}</span>
        )}
      </div>
      <span className={classes.ago} title={exactly(job.created_at)}>{ago(job.created_at)}</span>
      <div className={classes.acts}>
        {isOpen(job.status) && (
          <Tooltip label="Cancel">
            <ActionIcon aria-label={`Cancel ${title} of ${name}`} onClick={() => one(cancelJob, "Cancelled.")}>
              <Ban size={16} />
            </ActionIcon>
          </Tooltip>
        )}
        {mayRetry(job.status) && (
          <Tooltip label="Retry what is missing">
            <ActionIcon aria-label={`Retry ${title} of ${name}`} onClick={() => one(retryJob, "Queued again.")}>
              <RotateCcw size={16} />
            </ActionIcon>
          </Tooltip>
        )}
        {isOpen(job.status) && (
          <Menu position="bottom-end">
            <Menu.Target>
              <ActionIcon aria-label={`More for ${title} of ${name}`}>
                <MoreHorizontal size={16} />
              </ActionIcon>
            </Menu.Target>
            <Menu.Dropdown>
              <Menu.Item leftSection={<ArrowUpToLine size={15} />} onClick={() => one((at) => prioritise(at, 100), "It comes before others now.")}>To the front</Menu.Item>
              <Menu.Item leftSection={<ArrowDownToLine size={15} />} onClick={() => one((at) => prioritise(at, -100), "Others come before it now.")}>To the back</Menu.Item>
            </Menu.Dropdown>
          </Menu>
        )}
      </div>
    </li>
  );
});
