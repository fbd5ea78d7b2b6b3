/** The first page after the first sign-in: does storage work, and how do I get clips? */
import { Button } from "@mantine/core";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { Check, Scissors, Upload } from "lucide-react";
import type { ReactNode } from "react";
import { systemQuery, videosQuery } from "../api/queries";
import { ErrorCard } from "../ui/ErrorCard";
import { Page, Skeleton } from "../ui/Page";
import { chooseFiles } from "../uploads/choose";
import { Findings } from "./system/Findings";
import classes from "./Welcome.module.css";

const STORAGE = ["disk", "database", "storage", "public", "put", "parts", "range", "ffmpeg", "fonts"];

export function Welcome() {
  const system = useQuery(systemQuery);
  const videos = useInfiniteQuery(videosQuery());
  const navigate = useNavigate();
  const uploaded = videos.data?.pages[0]?.items.find((one) => one.upload_status === "uploaded");
  const seen = system.data?.findings.filter((one) => STORAGE.includes(one.name) || one.level === "failed" || one.level === "warning") ?? [];
  const good = system.data?.ok === true;

  return (
    <Page title="Welcome to Reelmill" lead="Three steps from a film to finished clips. Nothing leaves this installation." narrow>
      <ol className={classes.steps}>
        <Step n={1} done={good} title={system.isPending ? "Looking whether all works …" : good ? "Everything that clips need works" : "Something needs mending first"}>
          {system.isPending && <Skeleton height={240} what="the checks" />}
          {system.isError && <ErrorCard error={system.error} onRetry={() => void system.refetch()} />}
          {system.data && <Findings findings={seen} />}
        </Step>
        <Step n={2} done={uploaded !== undefined} title={uploaded ? `${uploaded.filename} is here` : "Bring a film"}>
          <p>Drop it anywhere on this page. It goes straight into your storage, and goes on after a reload or a lost network.</p>
          <Button variant={uploaded ? "default" : "filled"} leftSection={<Upload size={16} aria-hidden />} onClick={chooseFiles}>
            {uploaded ? "Bring another" : "Choose a film"}
          </Button>
        </Step>
        <Step n={3} title="Make the first clips">
          <p>Choose how it is cut and what is written on the clips; you see each cut before anything runs.</p>
          <Button disabled={!uploaded} leftSection={<Scissors size={16} aria-hidden />} onClick={() => uploaded && void navigate({ to: "/videos/$id/cut", params: { id: uploaded.id } })}>
            Make my first clips
          </Button>
        </Step>
      </ol>
      <p className="rm-dim">
        All of this has an API, too: <a href="docs">its operations</a>. <Link to="/">To the library</Link>
      </p>
    </Page>
  );
}

function Step({ n, title, done = false, children }: { n: number; title: string; done?: boolean; children: ReactNode }) {
  return (
    <li className={classes.step} data-done={done || undefined}>
      <span className={classes.number} aria-hidden>
        {done ? <Check size={16} /> : n}
      </span>
      <div className={classes.body}>
        <h2 className={classes.title}>{title}</h2>
        {children}
      </div>
    </li>
  );
}
