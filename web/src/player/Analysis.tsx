/** What an analysis found, over the length of the film: shots, sound, motion, pauses, highlights. C makes a clip of one. */
import { Button } from "@mantine/core";
import { useNavigate } from "@tanstack/react-router";
import { Scissors } from "lucide-react";
import { useMemo, useState } from "react";
import { markSpan } from "../clips/draft";
import { useKeys } from "../lib/keys";
import { spoken, timecode } from "../lib/time";
import { done } from "../ui/toast";
import classes from "./Analysis.module.css";

interface Span {
  start_s: number;
  end_s: number;
  score?: number | null;
}

export interface Report {
  duration_s: number;
  shots?: Span[];
  black?: Span[];
  frozen?: Span[];
  silence?: Span[] | null;
  loudness?: { integrated_lufs?: number | null; range_lu?: number | null; true_peak_dbtp?: number | null; curve?: [number, number][] } | null;
  motion?: { curve?: [number, number][] } | null;
  highlights?: Span[];
  suggested_clips?: Span[];
}

interface Lane {
  name: string;
  one: string;
  spans: Span[];
  tone: string;
}

export function AnalysisLanes({ videoId, report, position, onSeek }: { videoId: string; report: Report; position: number; onSeek: (seconds: number) => void }) {
  const navigate = useNavigate();
  const duration = Math.max(0.001, report.duration_s);
  const lanes = useMemo<Lane[]>(
    () =>
      [
        { name: "Highlights", one: "Highlight", spans: report.highlights ?? [], tone: "accent" },
        { name: "Shots", one: "Shot", spans: report.shots ?? [], tone: "plain" },
        { name: "Pauses", one: "Pause", spans: report.silence ?? [], tone: "good" },
        { name: "Black", one: "Black picture", spans: report.black ?? [], tone: "dark" },
        { name: "Frozen", one: "Frozen picture", spans: report.frozen ?? [], tone: "warn" },
      ].filter((lane) => lane.spans.length > 0),
    [report],
  );
  const [chosen, setChosen] = useState<{ lane: string; n: number } | null>(null);
  const span = chosen ? lanes.find((one) => one.name === chosen.lane)?.spans[chosen.n] : undefined;
  const make = () => {
    if (!span) return;
    const count = markSpan(videoId, { start: span.start_s, end: span.end_s });
    done(`${count} ${count === 1 ? "clip is" : "clips are"} marked. G then C opens them.`);
  };
  const pick = (lane: string, n: number, one: Span) => {
    setChosen({ lane, n });
    onSeek(one.start_s);
  };
  const open = () => void navigate({ to: "/videos/$id/cut", params: { id: videoId } });
  useKeys([
    { keys: "c", label: "Make a clip of the chosen span", group: "Analysis", run: make, disabled: !span },
    { keys: "g c", label: "Go to new clips", group: "Go", run: open },
  ]);
  const at = (seconds: number) => `${(Math.min(duration, Math.max(0, seconds)) / duration) * 100}%`;
  const loud = report.loudness;
  return (
    <div className={classes.lanes}>
      {lanes.map((lane) => (
        <div key={lane.name} className={classes.lane}>
          <h3>{lane.name}<span>{lane.spans.length}</span></h3>
          <div className={classes.track}>
            {lane.spans.map((one, n) => (
              <button
                key={`${one.start_s}`}
                type="button"
                className={classes.span}
                data-tone={lane.tone}
                data-odd={n % 2 === 1 || undefined}
                aria-pressed={chosen?.lane === lane.name && chosen.n === n}
                aria-label={`${lane.one} ${n + 1}, ${spoken(one.start_s)} to ${spoken(one.end_s)}`}
                title={`${timecode(one.start_s, 1)} – ${timecode(one.end_s, 1)}${one.score == null ? "" : `, score ${one.score.toFixed(2)}`}`}
                style={{ insetInlineStart: at(one.start_s), width: `max(3px, ${at(one.end_s - one.start_s)})` }}
                onClick={() => pick(lane.name, n, one)}
                onDoubleClick={make}
              />
            ))}
            <i style={{ insetInlineStart: at(position) }} />
          </div>
        </div>
      ))}
      <Curve name="Loudness" note={loud?.integrated_lufs == null ? "" : `${loud.integrated_lufs.toFixed(1)} LUFS`} curve={loud?.curve} low={-60} high={-5} {...{ duration, position }} />
      <Curve name="Motion" note="" curve={report.motion?.curve} low={0} {...{ duration, position }} />
      <div className={classes.foot} role="status">
        {span ? (
          <>
            <span className="rm-num">{timecode(span.start_s, 2)} – {timecode(span.end_s, 2)}</span>
            <Button size="xs" leftSection={<Scissors size={14} />} onClick={make}>Make a clip of it (C)</Button>
            <Button size="xs" variant="default" onClick={open}>Open new clips</Button>
          </>
        ) : (
          <span className="rm-dim">Choose a span to see it; C makes a clip of it.</span>
        )}
      </div>
    </div>
  );
}

function Curve({ name, note, curve, low, high, duration, position }: { name: string; note: string; curve?: [number, number][]; low: number; high?: number; duration: number; position: number }) {
  const path = useMemo(() => {
    if (!curve?.length) return "";
    const top = high ?? Math.max(1e-6, ...curve.map(([, value]) => value));
    const points = curve.map(([time, value]) => `${((time / duration) * 1000).toFixed(1)},${(100 - Math.min(1, Math.max(0, (value - low) / (top - low))) * 96).toFixed(1)}`);
    const last = points.at(-1)?.split(",")[1];
    return `M0,100L${points.join("L")}L1000,${last}L1000,100Z`;
  }, [curve, duration, high, low]);
  if (!path) return null;
  return (
    <div className={classes.lane}>
      <h3>{name}<span>{note}</span></h3>
      <div className={classes.track} data-tall>
        <svg viewBox="0 0 1000 100" preserveAspectRatio="none" role="img" aria-label={`${name} over the film`}>
          <path d={path} />
        </svg>
        <i style={{ insetInlineStart: `${(position / duration) * 100}%` }} />
      </div>
    </div>
  );
}
