/** The dock of uploads, on every page: what is on its way, how fast, and what to do when it isn't. */
import { ActionIcon, Button, Tooltip } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { Check, ChevronDown, ChevronUp, CloudUpload, Pause, Play, RotateCw, X } from "lucide-react";
import { useCallback, useEffect, useRef, useState } from "react";
import { ErrorCard } from "../ui/ErrorCard";
import { failed } from "../ui/toast";
import { bytes, roughly } from "../lib/time";
import type { Upload } from "./upload";
import { begin, forget, forgetEnded, reopen, resume, useUploads } from "./uploads";
import classes from "./Tray.module.css";

const WORDS = {
  waiting: "Waiting for its turn",
  hashing: "Checking what has arrived",
  sending: "Uploading",
  offline: "Offline: goes on by itself",
  verifying: "Verifying",
  paused: "Paused",
  needs_file: "Choose the same file to go on",
  elsewhere: "Uploading in another tab",
  done: "Uploaded",
  failed: "Failed",
  cancelled: "Cancelled",
} as const;

export function Tray() {
  const uploads = useUploads();
  const [open, setOpen] = useState(true);
  useEffect(begin, []);
  // On a phone it lies over the page's end: `--rm-tray` is how much room it takes, and what must be reached stays above.
  const measured = useCallback((tray: HTMLElement | null) => {
    if (!tray) return undefined;
    const root = document.documentElement.style;
    const seen = new ResizeObserver(() => root.setProperty("--rm-tray", `${tray.offsetHeight}px`));
    seen.observe(tray);
    return () => {
      seen.disconnect();
      root.removeProperty("--rm-tray");
    };
  }, []);
  if (uploads.length === 0) return null;

  const active = uploads.filter((one) => one.active);
  const total = active.reduce((sum, one) => sum + one.size, 0);
  const sent = active.reduce((sum, one) => sum + one.sent, 0);
  const rate = active.reduce((sum, one) => sum + (one.rate ?? 0), 0);
  const troubled = uploads.filter((one) => one.phase === "failed" || one.phase === "needs_file").length;
  const summary =
    active.length > 0
      ? `Uploading ${active.length} ${active.length === 1 ? "video" : "videos"}`
      : troubled > 0
        ? `${troubled} ${troubled === 1 ? "upload needs" : "uploads need"} you`
        : "Uploads";
  return (
    <section ref={measured} className={classes.tray} aria-label="Uploads" data-open={open || undefined}>
      <header className={classes.head}>
        <CloudUpload size={17} aria-hidden className={classes.mark} />
        <div className={classes.summary}>
          <strong>{summary}</strong>
          {active.length > 0 && (
            <span className="rm-dim rm-num">
              {" "}
              {Math.floor((100 * sent) / Math.max(1, total))} %{rate > 0 && ` · ${bytes(rate)}/s · ${roughly((total - sent) / rate)} left`}
            </span>
          )}
        </div>
        {active.length === 0 && uploads.some((one) => one.phase === "done") && (
          <Button size="compact-xs" variant="subtle" onClick={forgetEnded}>
            Clear
          </Button>
        )}
        <ActionIcon size="md" onClick={() => setOpen(!open)} aria-label={open ? "Fold the uploads" : "Show the uploads"} aria-expanded={open}>
          {open ? <ChevronDown size={17} /> : <ChevronUp size={17} />}
        </ActionIcon>
      </header>
      {open && (
        <ul className={classes.list}>
          {uploads.map((one) => (
            <Row key={one.key} upload={one} />
          ))}
        </ul>
      )}
      <Announcer uploads={uploads} />
    </section>
  );
}

function Row({ upload }: { upload: Upload }) {
  const input = useRef<HTMLInputElement>(null);
  const { phase } = upload;
  const pct = Math.floor(upload.fraction * 100);

  const goOn = async () => {
    if (!(await reopen(upload))) input.current?.click();
  };
  const chosen = async (file: File | undefined) => {
    if (!file) return;
    try {
      await upload.give(file);
      resume(upload);
    } catch (error) {
      failed(error);
    }
  };
  const cancel = async () => {
    await upload.cancel();
    forget(upload);
  };
  const figures =
    phase === "sending"
      ? `${bytes(upload.sent)} of ${bytes(upload.size)}${upload.rate ? ` · ${bytes(upload.rate)}/s` : ""}${upload.left ? ` · ${roughly(upload.left)}` : ""}`
      : bytes(upload.size);
  return (
    <li className={classes.row} data-phase={phase} data-video={upload.videoId ?? undefined}>
      <div className={classes.line}>
        <span className={`${classes.name} rm-clip`} title={upload.filename}>
          {phase === "done" && upload.videoId ? (
            <Link to="/videos/$id" params={{ id: upload.videoId }}>
              {upload.filename}
            </Link>
          ) : (
            upload.filename
          )}
        </span>
        <span className={classes.actions}>
          {(phase === "sending" || phase === "hashing" || phase === "waiting" || phase === "offline") && (
            <Act label={`Pause ${upload.filename}`} tip="Pause" onClick={() => upload.pause()} Icon={Pause} />
          )}
          {phase === "paused" && <Act label={`Go on with ${upload.filename}`} tip="Go on" onClick={() => resume(upload)} Icon={Play} />}
          {upload.again && <Act label={`Try ${upload.filename} again`} tip="Try again" onClick={() => resume(upload)} Icon={RotateCw} />}
          {phase === "done" && <Check size={17} className={classes.done} aria-hidden />}
          {(phase === "done" || (phase === "failed" && !upload.again) || phase === "elsewhere") && (
            <Act label={`Take ${upload.filename} off the list`} tip="Take off the list" onClick={() => forget(upload)} Icon={X} />
          )}
          {["waiting", "hashing", "sending", "offline", "paused", "needs_file"].includes(phase) || upload.again ? (
            <Act label={`Cancel ${upload.filename}`} tip="Cancel" onClick={() => void cancel()} Icon={X} />
          ) : null}
        </span>
      </div>
      <div className={classes.bar} role="progressbar" aria-label={upload.filename} aria-valuenow={pct} aria-valuetext={`${WORDS[phase]}, ${pct} percent`}>
        {upload.map.length > 1 && upload.map.length <= 200 ? (
          upload.map.map((part, n) => (
            // biome-ignore lint: a part is its place
            <i key={n} style={{ "--done": part } as React.CSSProperties} />
          ))
        ) : (
          <i style={{ "--done": upload.fraction } as React.CSSProperties} />
        )}
      </div>
      <div className={classes.state}>
        <span>
          {WORDS[phase]}
          {phase === "sending" && ` ${pct} %`}
        </span>
        <span className="rm-num">{figures}</span>
      </div>
      {phase === "needs_file" && (
        <div className={classes.again}>
          <Button size="compact-sm" onClick={() => void goOn()}>
            {upload.record?.handle ? "Go on" : "Choose the file"}
          </Button>
          <span className="rm-dim">What has arrived stays: only the rest is sent.</span>
          <input ref={input} type="file" hidden aria-label={`${upload.filename} again`} onChange={(event) => void chosen(event.currentTarget.files?.[0])} />
        </div>
      )}
      {phase === "failed" && upload.error && <ErrorCard error={upload.error} compact />}
    </li>
  );
}

function Act({ label, tip, onClick, Icon }: { label: string; tip: string; onClick: () => void; Icon: typeof Pause }) {
  return (
    <Tooltip label={tip}>
      <ActionIcon size={28} onClick={onClick} aria-label={label}>
        <Icon size={16} />
      </ActionIcon>
    </Tooltip>
  );
}

/** Says what happens to those who can't see it: each quarter, and each change that matters. */
function Announcer({ uploads }: { uploads: Upload[] }) {
  const said = useRef(new Map<string, string>());
  const [text, setText] = useState("");
  useEffect(() => {
    for (const one of uploads) {
      const quarter = Math.floor(one.fraction * 4) * 25;
      const state = one.phase === "sending" ? `${quarter} percent of ${one.filename} uploaded` : `${one.filename}: ${WORDS[one.phase]}`;
      if (said.current.get(one.key) === state || one.phase === "waiting" || one.phase === "hashing") continue;
      said.current.set(one.key, state);
      setText(one.error ? `${state}. ${one.error.what} ${one.error.remedy}` : state);
    }
  });
  return (
    <div className="rm-hidden" aria-live="polite">
      {text}
    </div>
  );
}
