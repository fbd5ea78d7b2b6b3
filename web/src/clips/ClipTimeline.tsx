/**
 * A film from left to right: its pictures, its sound, the clips, and where the player stands.
 *
 * Everything that can be dragged is also a slider that keys move, and has a field to type into beside it.
 */
import { useElementSize } from "@mantine/hooks";
import { type CSSProperties, type KeyboardEvent, type PointerEvent, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { spoken, timecode } from "../lib/time";
import classes from "./ClipTimeline.module.css";
import { type Planned, snap, tickEvery, tilesFor } from "./draft";
import { filmstripOf } from "./queries";

export type Edge = "start" | "end";

interface Props {
  videoId: string;
  duration: number;
  aspect: number;
  frame: number;
  clips: Planned[];
  selected: number;
  onSelect: (index: number) => void;
  position: number;
  onSeek: (seconds: number) => void;
  /** Called while an edge moves; without it, the clips are only shown. */
  onEdge?: (index: number, edge: Edge, seconds: number) => void;
  peaks?: number[];
  /** Times that edges snap to: shots, pauses. */
  snaps?: number[];
  zoom: number;
  stale?: boolean;
}

const SNAP_PX = 8;
const LANE = 54;

export function ClipTimeline({ videoId, duration, aspect, frame, clips, selected, onSelect, position, onSeek, onEdge, peaks, snaps = [], zoom, stale }: Props) {
  const { ref: sized, width: outer } = useElementSize<HTMLDivElement>();
  const scroller = useRef<HTMLDivElement | null>(null);
  const track = useRef<HTMLDivElement>(null);
  const width = Math.max(1, outer * zoom);
  const at = (seconds: number) => `${(Math.min(duration, Math.max(0, seconds)) / duration) * 100}%`;
  const tiles = outer > 0 ? tilesFor(width, LANE, aspect) : 0;
  const tileWidth = LANE * aspect > 100 ? 160 : 120;

  const timeOf = useCallback(
    (event: { clientX: number; altKey: boolean }, all: number[] = []) => {
      const box = track.current?.getBoundingClientRect();
      if (!box) return 0;
      const rtl = track.current !== null && getComputedStyle(track.current).direction === "rtl";
      const share = rtl ? (box.right - event.clientX) / box.width : (event.clientX - box.left) / box.width;
      const seconds = Math.min(duration, Math.max(0, share * duration));
      return event.altKey ? seconds : snap(seconds, all, (SNAP_PX / box.width) * duration);
    },
    [duration],
  );

  // The playhead stays in sight while it moves.
  useEffect(() => {
    const box = scroller.current;
    if (!box || zoom <= 1) return;
    const x = (position / duration) * width;
    if (x < box.scrollLeft + 24 || x > box.scrollLeft + box.clientWidth - 24) box.scrollLeft = x - box.clientWidth / 3;
  }, [position, duration, width, zoom]);

  const drag = (event: PointerEvent<HTMLElement>, move: (event: globalThis.PointerEvent) => void) => {
    if (event.button !== 0) return;
    event.preventDefault();
    const target = event.currentTarget;
    target.setPointerCapture(event.pointerId);
    const onMove = (one: globalThis.PointerEvent) => move(one);
    const end = () => {
      target.removeEventListener("pointermove", onMove);
      target.removeEventListener("pointerup", end);
      target.removeEventListener("pointercancel", end);
    };
    target.addEventListener("pointermove", onMove);
    target.addEventListener("pointerup", end);
    target.addEventListener("pointercancel", end);
  };

  const seeking = (event: PointerEvent<HTMLElement>) => {
    onSeek(timeOf(event));
    drag(event, (one) => onSeek(timeOf(one)));
  };

  const keyed = (event: KeyboardEvent, now: number, set: (seconds: number) => void) => {
    const step = { ArrowLeft: -frame, ArrowDown: -frame, ArrowRight: frame, ArrowUp: frame, PageDown: -10 * frame, PageUp: 10 * frame }[event.key];
    const far = event.shiftKey ? 1 / frame : 1;
    if (step !== undefined) set(now + step * (Math.abs(step) === frame ? far : 1));
    else if (event.key === "Home") set(0);
    else if (event.key === "End") set(duration);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const chosen = clips[selected];
  const edges = useMemo(() => [...snaps, position], [snaps, position]);
  return (
    <div className={classes.scroller} ref={scroller} data-stale={stale || undefined}>
      <div ref={sized} className={classes.measure} />
      <div className={classes.track} ref={track} style={{ width: `${zoom * 100}%` }}>
        <Ruler duration={duration} width={width} onPointerDown={seeking} />
        <div className={classes.film} onPointerDown={seeking}>
          {tiles > 0 && <img src={filmstripOf(videoId, tiles, tileWidth)} alt="" draggable={false} className={classes.strip} />}
        </div>
        <div className={classes.sound} onPointerDown={seeking}>
          <Wave peaks={peaks} />
        </div>
        <div className={classes.shade} aria-hidden>
          {chosen && (
            <>
              <div style={{ insetInlineStart: 0, width: at(chosen.start_s) }} />
              <div style={{ insetInlineStart: at(chosen.end_s), insetInlineEnd: 0 }} />
            </>
          )}
        </div>
        <div className={classes.clips} role="listbox" aria-label="Clips" aria-orientation="horizontal" tabIndex={-1}>
          {clips.map((clip, n) => (
            <button
              type="button"
              role="option"
              aria-selected={n === selected}
              key={`${n}`}
              tabIndex={-1}
              className={classes.clip}
              data-selected={n === selected || undefined}
              data-odd={n % 2 === 1 || undefined}
              style={{ insetInlineStart: at(clip.start_s), width: at(clip.end_s - clip.start_s) }}
              aria-label={`Clip ${n + 1}, ${spoken(clip.start_s)} to ${spoken(clip.end_s)}`}
              onClick={() => onSelect(n)}
            >
              <span>{n + 1}</span>
            </button>
          ))}
        </div>
        {chosen && onEdge &&
          (["start", "end"] as const).map((edge) => {
            const seconds = edge === "start" ? chosen.start_s : chosen.end_s;
            return (
              <div
                key={edge}
                role="slider"
                tabIndex={0}
                aria-label={`${edge === "start" ? "Start" : "End"} of clip ${selected + 1}`}
                aria-valuemin={0}
                aria-valuemax={duration}
                aria-valuenow={Math.round(seconds * 1000) / 1000}
                aria-valuetext={spoken(seconds)}
                className={classes.handle}
                data-edge={edge}
                style={{ insetInlineStart: at(seconds) }}
                onPointerDown={(event) => {
                  event.currentTarget.focus();
                  drag(event, (one) => onEdge(selected, edge, timeOf(one, edges)));
                }}
                onKeyDown={(event) => keyed(event, seconds, (to) => onEdge(selected, edge, to))}
              />
            );
          })}
        <div
          role="slider"
          tabIndex={0}
          aria-label="Playhead"
          aria-valuemin={0}
          aria-valuemax={duration}
          aria-valuenow={Math.round(position * 1000) / 1000}
          aria-valuetext={spoken(position)}
          className={classes.playhead}
          style={{ insetInlineStart: at(position) } as CSSProperties}
          onPointerDown={(event) => drag(event, (one) => onSeek(timeOf(one)))}
          onKeyDown={(event) => keyed(event, position, onSeek)}
        />
      </div>
    </div>
  );
}

function Ruler({ duration, width, onPointerDown }: { duration: number; width: number; onPointerDown: (event: PointerEvent<HTMLElement>) => void }) {
  const every = tickEvery(duration, width);
  const ticks = Array.from({ length: Math.floor(duration / every + 1e-6) + 1 }, (_, n) => n * every);
  return (
    <div className={classes.ruler} onPointerDown={onPointerDown} aria-hidden>
      {ticks.map((tick) => (
        <span key={tick} style={{ insetInlineStart: `${(tick / duration) * 100}%` }} data-last={tick / duration > 0.96 || undefined}>
          {timecode(tick, every < 1 ? 1 : 0)}
        </span>
      ))}
    </div>
  );
}

/** The sound's peaks, above and below a middle line. */
export function Wave({ peaks }: { peaks?: number[] }) {
  const path = useMemo(() => {
    if (!peaks?.length) return "";
    const up = peaks.map((peak, n) => `${n},${(50 - peak * 46).toFixed(1)}`);
    const down = peaks.map((peak, n) => `${n},${(50 + peak * 46).toFixed(1)}`).reverse();
    return `M${[...up, ...down].join("L")}Z`;
  }, [peaks]);
  if (peaks && !peaks.length) return <p className={classes.silent}>No sound</p>;
  return (
    <svg viewBox={`0 0 ${Math.max(1, (peaks?.length ?? 1) - 1)} 100`} preserveAspectRatio="none" className={classes.wave} aria-hidden>
      <path d={path} />
    </svg>
  );
}

/** A zoom that is remembered while the page is shown, and its keys. */
export function useZoom() {
  const [zoom, setZoom] = useState(1);
  return { zoom, nearer: () => setZoom((now) => Math.min(8, now * 2)), farther: () => setZoom((now) => Math.max(1, now / 2)) };
}
