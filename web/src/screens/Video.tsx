/** One video: played, described, analysed, and all that was made of it. */
import { Button, CopyButton, Menu, Modal, Select } from "@mantine/core";
import { useMutation, useQueries, useQuery, useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { ChevronDown, Download, Link as LinkIcon, Scissors, ScanSearch, Trash2, Workflow } from "lucide-react";
import { lazy, Suspense, useMemo, useState } from "react";
import { api, body, type JobSummary, type Video } from "../api/client";
import { soon } from "../api/live";
import { artifactsQuery, client, jobsQuery, pipelinesQuery, videoQuery } from "../api/queries";
import { frameLength } from "../clips/draft";
import { metadataQuery, playQuery, posterOf } from "../clips/queries";
import { isOpen, seconds, took } from "../jobs/actions";
import { fileOf } from "../jobs/Results";
import { LIVES } from "../jobs/Share";
import { useKeys } from "../lib/keys";
import { ago, bytes, exactly, timecode } from "../lib/time";
import { AnalysisLanes, type Report } from "../player/Analysis";
import { useFilm } from "../player/useFilm";
import { ErrorCard } from "../ui/ErrorCard";
import { Page, Skeleton } from "../ui/Page";
import { Status } from "../ui/Status";
import { done, failed, undoable } from "../ui/toast";
import jobClasses from "../jobs/Jobs.module.css";
import classes from "./Video.module.css";

const Player = lazy(() => import("../player/Player"));

export function VideoPage() {
  const { id } = useParams({ strict: false }) as { id: string };
  const video = useQuery(videoQuery(id));
  if (video.error && !video.data) {
    return (
      <Page title="Video">
        <ErrorCard error={video.error} onRetry={() => void video.refetch()} />
      </Page>
    );
  }
  if (!video.data) {
    return (
      <Page title="Video">
        <Skeleton height={420} what="the video" />
      </Page>
    );
  }
  return <Shown key={id} video={video.data} />;
}

function Shown({ video }: { video: Video }) {
  const navigate = useNavigate();
  const id = video.id;
  const there = video.upload_status === "uploaded";
  const picture = video.content_type.startsWith("image/"); // it stands in films, and isn't one
  const aspect = (video.width ?? 16) / (video.height ?? 9);
  const control = useFilm(frameLength(video.technical?.frame_rate));
  const [broken, setBroken] = useState(false);
  const [linking, setLinking] = useState(false);
  const jobs = useInfiniteQuery(jobsQuery({ videoId: id }));
  const list = useMemo(() => jobs.data?.pages.flatMap((page) => page.items) ?? [], [jobs.data]);
  const pipelines = useQuery(pipelinesQuery);
  const titles = new Map(pipelines.data?.items.map((one) => [one.name, one.title]));
  const source = useQuery({ ...playQuery(id), enabled: there });
  const ladder = list.find((one) => one.pipeline === "renditions" && one.status === "completed");
  const proxy = list.find((one) => one.pipeline === "proxy" && one.status === "completed");
  const streaming = useQuery({ ...metadataQuery(ladder?.job_id ?? ""), enabled: ladder !== undefined });
  const small = useQuery({ ...metadataQuery(proxy?.job_id ?? ""), enabled: proxy !== undefined && broken });
  const fallback = Object.values(small.data?.video_urls ?? {})[0];

  const remove = async () => {
    try {
      await body(api.DELETE("/api/v1/videos/{video_id}", { params: { path: { video_id: id } } }));
    } catch (error) {
      return failed(error, "It couldn't be deleted");
    }
    soon(["videos"], ["jobs"]);
    await navigate({ to: "/" });
    client.removeQueries({ queryKey: ["video", id] });
    undoable(`${video.filename} was deleted.`, () => {
      void body(api.POST("/api/v1/videos/{video_id}/restore", { params: { path: { video_id: id } } }))
        .then(() => soon(["videos"], ["jobs"]))
        .catch((error: unknown) => failed(error));
    });
  };
  const run = useMutation({
    mutationFn: (pipeline: string) => body(api.POST("/api/v1/jobs", { body: { video_id: id, pipeline, params: {}, priority: 0, reuse: true } })),
    onSuccess: (job) => {
      soon(["jobs"], ["videos"], ["video", id]);
      void navigate({ to: "/jobs/$id", params: { id: (job as { job_id: string }).job_id } });
    },
    onError: (error) => failed(error),
  });
  const cut = () => void navigate({ to: "/videos/$id/cut", params: { id } });

  useKeys([
    { keys: ["space", "k"], label: "Play or pause", group: "Player", run: control.toggle, quiet: true },
    { keys: "j", label: "Slower", group: "Player", run: () => control.faster(-1), quiet: true },
    { keys: "l", label: "Faster", group: "Player", run: () => control.faster(1), quiet: true },
    { keys: "arrowleft", label: "One frame back", group: "Player", run: () => control.step(-1), quiet: true },
    { keys: "arrowright", label: "One frame on", group: "Player", run: () => control.step(1), quiet: true },
    { keys: "shift+arrowleft", label: "One second back", group: "Player", run: () => control.seek(control.position - 1), quiet: true },
    { keys: "shift+arrowright", label: "One second on", group: "Player", run: () => control.seek(control.position + 1), quiet: true },
    { keys: "f", label: "Full screen", group: "Player", run: () => void control.element?.requestFullscreen(), quiet: true },
    { keys: "n", label: "New clips", group: "Video", run: cut, disabled: !there || picture },
  ]);

  return (
    <Page
      title={video.filename}
      lead={
        <span className={jobClasses.headline}>
          <Status of={there ? (video.processing_status === "pending" ? "uploaded" : video.processing_status) : video.upload_status} />
          {video.duration != null && <span className="rm-num">{timecode(video.duration, 2)}</span>}
          {video.width && <span className="rm-num">{video.width} × {video.height}</span>}
          <span>{bytes(video.size)}</span>
          <span title={exactly(video.created_at)}>{ago(video.created_at)}</span>
          {Object.entries(video.labels).map(([name, value]) => (
            <span key={name} className={classes.tag}>{name}: {value}</span>
          ))}
        </span>
      }
      actions={
        <>
          <Button variant="default" leftSection={<LinkIcon size={15} />} disabled={!there} onClick={() => setLinking(true)}>Link</Button>
          {!picture && <Menu position="bottom-end">
            <Menu.Target>
              <Button variant="default" leftSection={<Workflow size={15} />} rightSection={<ChevronDown size={14} />} disabled={!there} loading={run.isPending}>Run</Button>
            </Menu.Target>
            <Menu.Dropdown>
              {pipelines.data?.items.filter((one) => one.name !== "generate").map((one) => (
                <Menu.Item key={one.name} onClick={() => void navigate({ to: "/videos/$id/run", params: { id }, search: { pipeline: one.name } })}>
                  {one.title}
                </Menu.Item>
              ))}
            </Menu.Dropdown>
          </Menu>}
          <Button variant="default" color="red" leftSection={<Trash2 size={15} />} onClick={() => void remove()}>Delete</Button>
          {!picture && <Button leftSection={<Scissors size={15} />} disabled={!there} onClick={cut}>New clips</Button>}
        </>
      }
    >
      <div className={classes.columns}>
        <div className={classes.main}>
          {there && picture ? (
            <figure className={classes.picture}>
              <img src={source.data?.url ?? posterOf(id, 1280)} alt={video.filename} width={video.width ?? undefined} height={video.height ?? undefined} />
              <figcaption>It can stand behind a scene (Generate) or on renditions as a watermark; both name it by its id.</figcaption>
            </figure>
          ) : there ? (
            <Suspense fallback={<Skeleton height={360} what="the player" />}>
              <Player
                film={control.element}
                attach={control.attach}
                label={video.filename}
                aspect={aspect}
                poster={posterOf(id, 1280)}
                hls={streaming.data?.streaming_info.hls_url}
                src={broken ? fallback : ladder && streaming.isPending ? undefined : source.data?.url}
                onBroken={() => setBroken(true)}
              />
            </Suspense>
          ) : (
            <div className={classes.absent}>{video.upload_status === "gone" ? "The source of this video was removed." : "The upload of this video isn't finished."}</div>
          )}
          {broken && !picture && !fallback && (
            <ErrorCard
              compact
              error={{ code: "cannot_play", detail: `This browser can't play the source (${video.technical?.video_codec ?? "unknown codec"}).`, why: "", remedy: "Make a proxy: a small film that plays everywhere." }}
            >
              <Button size="xs" loading={run.isPending} onClick={() => run.mutate("proxy")}>Make a proxy</Button>
            </ErrorCard>
          )}
          {there && !picture && <Analysed video={video} jobs={list} position={control.position} onSeek={control.seek} onRun={titles.has("analysis") ? () => run.mutate("analysis") : undefined} running={run.isPending} />}
        </div>
        <aside className={classes.side} aria-label="Beside the video">
          <section aria-label="Jobs on it">
            <h2>Jobs on it</h2>
            {list.length ? (
              <ul className={classes.jobs}>
                {list.map((job) => (
                  <li key={job.job_id}>
                    <Link to="/jobs/$id" params={{ id: job.job_id }} className={classes.job}>
                      <b>{titles.get(job.pipeline) ?? job.pipeline}</b>
                      <Status of={job.status} pct={job.status === "running" ? job.progress_pct : null} />
                      <span>{ago(job.created_at)}{job.completed_at && job.started_at ? `, in ${took(seconds(job.started_at, job.completed_at))}` : ""}</span>
                    </Link>
                  </li>
                ))}
              </ul>
            ) : (
              <p className="rm-dim">{jobs.isPending ? "Looking …" : "Nothing was made of it yet."}</p>
            )}
          </section>
          <Files jobs={list} titles={titles} />
          <section aria-label="About it">
            <h2>About it</h2>
            <dl className={classes.facts}>
              {facts(video).map(([name, value]) => (
                <div key={name}>
                  <dt>{name}</dt>
                  <dd>{value}</dd>
                </div>
              ))}
            </dl>
          </section>
        </aside>
      </div>
      {linking && <SourceLink video={video} onClose={() => setLinking(false)} />}
    </Page>
  );
}

function facts(video: Video): [string, string][] {
  const told = video.technical;
  const rate = told?.frame_rate ? 1 / frameLength(told.frame_rate) : null;
  const all: [string, string | null | undefined | false][] = [
    ["Picture", told && `${told.video_codec ?? "?"}, ${told.pixel_format ?? "?"}${told.hdr ? ", HDR" : ""}`],
    ["Frames", rate !== null && `${rate.toFixed(3).replace(/\.?0+$/, "")} a second${told?.variable_frame_rate ? " on average" : ""}${told?.frame_count ? `, ${told.frame_count.toLocaleString("en-GB")} in all` : ""}`],
    ["Sound", told && (told.audio_codec ? `${told.audio_codec}, ${told.audio_channels === 1 ? "mono" : told.audio_channels === 2 ? "stereo" : `${told.audio_channels ?? "?"} channels`}, ${((told.audio_sample_rate ?? 0) / 1000).toFixed(1)} kHz` : "none")],
    ["Container", told?.container],
    ["Rotation", told?.rotation ? `${told.rotation}°` : null],
    ["Bit rate", video.duration ? `${((video.size * 8) / video.duration / 1e6).toFixed(2)} Mbit/s` : null],
    ["Uploaded", video.uploaded_at && exactly(video.uploaded_at)],
    ["By", video.user_id],
    ["Id", video.id],
    ["SHA-256", video.sha256],
  ];
  return all.filter((one): one is [string, string] => Boolean(one[1]));
}

/** The analysis of a video: the newest whole one, else what its quick pass has found so far. */
function Analysed({ video, jobs, position, onSeek, onRun, running }: { video: Video; jobs: JobSummary[]; position: number; onSeek: (seconds: number) => void; onRun?: () => void; running: boolean }) {
  const job = jobs.find((one) => one.pipeline === "analysis" && (one.status === "completed" || one.status === "running"));
  const artifacts = useQuery({ ...artifactsQuery(job?.job_id ?? ""), enabled: job !== undefined, refetchInterval: job && isOpen(job.status) ? 3000 : false });
  const found = artifacts.data?.items.find((one) => one.kind === "analysis") ?? artifacts.data?.items.find((one) => one.kind === "analysis_quick");
  const report = useQuery({
    queryKey: ["report", found?.id],
    enabled: found !== undefined && job !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
    queryFn: async ({ signal }) => {
      const reply = await fetch(`${fileOf(job?.job_id ?? "", found?.id ?? "")}&via=api`, { signal, credentials: "same-origin" });
      if (!reply.ok) throw new TypeError(`The report can't be read: ${reply.status}`);
      return (await reply.json()) as Report;
    },
  });
  if (!job && !onRun) return null;
  return (
    <section className={jobClasses.section} aria-label="Analysis">
      <h2>Analysis{found?.kind === "analysis_quick" && <span className="rm-dim"> · first pass; the second is at work</span>}</h2>
      {report.error && <ErrorCard error={report.error} compact />}
      {report.data ? (
        <AnalysisLanes videoId={video.id} report={{ ...report.data, duration_s: report.data.duration_s || (video.duration ?? 1) }} position={position} onSeek={onSeek} />
      ) : job ? (
        <Skeleton height={150} what="the analysis" />
      ) : (
        <div className={classes.offer}>
          <ScanSearch size={22} aria-hidden />
          <p>Shots, pauses, loudness and highlights on a timeline, each a key away from a clip.</p>
          <Button size="xs" variant="light" loading={running} onClick={onRun}>Analyse it</Button>
        </div>
      )}
    </section>
  );
}

const SHOWN_JOBS = 4;

/** The newest jobs' results as files. */
function Files({ jobs, titles }: { jobs: JobSummary[]; titles: Map<string, string> }) {
  const ready = jobs.filter((one) => one.status === "completed").slice(0, SHOWN_JOBS);
  const lists = useQueries({ queries: ready.map((one) => ({ ...artifactsQuery(one.job_id), staleTime: 300_000 })) });
  const rows = ready.flatMap((job, n) => (lists[n]?.data?.items ?? []).filter((one) => one.primary).slice(0, 6).map((one) => ({ job, one })));
  if (!rows.length) return null;
  return (
    <section aria-label="Files">
      <h2>Files</h2>
      <ul className={classes.files}>
        {rows.map(({ job, one }) => (
          <li key={one.id}>
            <a href={fileOf(job.job_id, one.id)} download className={classes.file} title={`${titles.get(job.pipeline) ?? job.pipeline}: ${one.name}`}>
              <Download size={14} aria-hidden />
              <b>{one.name}</b>
              <span>{bytes(one.size)}</span>
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** A link to the source itself, that works without a key until its time is over. */
function SourceLink({ video, onClose }: { video: Video; onClose: () => void }) {
  const [life, setLife] = useState("86400");
  const link = useMutation({ mutationFn: () => body(api.GET("/api/v1/videos/{video_id}/play", { params: { path: { video_id: video.id }, query: { life_s: Number(life) } } })) });
  return (
    <Modal opened onClose={onClose} title="A link to the source" size="lg">
      <p className="rm-dim" style={{ marginBlockStart: 0 }}>Anybody who has it can play and download {video.filename}, without a key. It can't be taken back before its time is over.</p>
      <div style={{ display: "flex", alignItems: "end", gap: 10 }}>
        <Select label="It works for" data={LIVES.slice(0, 3)} value={life} onChange={(one) => one && setLife(one)} style={{ flex: 1 }} />
        <Button loading={link.isPending} onClick={() => link.mutate()}>Make a link</Button>
      </div>
      {link.error && <ErrorCard error={link.error} compact />}
      {link.data && (
        <div className={classes.link}>
          <a href={link.data.url} target="_blank" rel="noreferrer">{link.data.url}</a>
          <span className="rm-dim">until {exactly(link.data.expires_at)}</span>
          <CopyButton value={link.data.url}>
            {({ copied, copy }) => (
              <Button size="xs" variant="default" onClick={() => { copy(); done("The link is copied."); }}>{copied ? "Copied" : "Copy"}</Button>
            )}
          </CopyButton>
        </div>
      )}
    </Modal>
  );
}
