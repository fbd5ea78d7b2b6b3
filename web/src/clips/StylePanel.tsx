/** How a text looks, and the frame that the clip will have, made by the server from the code that makes the clip. */
import { ColorInput, SegmentedControl, Slider } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { at, problemOf } from "../api/client";
import classes from "./Clips.module.css";
import type { Params } from "./draft";
import { posterOf } from "./queries";
import type { Field } from "./SchemaFields";

/** Looks for servers that have no presets of their own. */
const LOOKS: Record<string, Params> = {
  Outline: {},
  Clean: { outline_color: null, box_color: null, size_pct: 6.5 },
  Boxed: { outline_color: null, box_color: "#000000", box_opacity: 0.65, size_pct: 5.5 },
  Banner: { outline_color: null, box_color: "#FFD400", box_opacity: 1, color: "#111111", size_pct: 5.5 },
  Headline: { position: "center", size_pct: 11, outline_pct: 10 },
  Label: { position: "bottom-left", outline_color: null, box_color: "#111111", box_opacity: 0.85, size_pct: 4.5 },
};

const GRID = ["top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"];

export interface Preset {
  name: string;
  look: Params;
}

/** The server's presets by name; those built in here when it has none. */
export async function presetsOf(signal: AbortSignal): Promise<Preset[]> {
  const own = Object.entries(LOOKS).map(([name, look]) => ({ name, look }));
  try {
    const reply = await fetch(at("/api/v1/presets"), { signal, credentials: "same-origin" });
    if (!reply.ok) return own;
    const { items } = (await reply.json()) as { items: { name: string }[] };
    return items.length ? items.map(({ name }) => ({ name, look: { preset: name } })) : own;
  } catch {
    return own;
  }
}

interface Props {
  look: Params;
  video: Params;
  videoFields: Record<string, Field>;
  lookFields: Record<string, Field>;
  onLook: (look: Params, kind?: string) => void;
  onVideo: (video: Params) => void;
}

export function StylePanel({ look, video, videoFields, lookFields, onLook, onVideo }: Props) {
  const presets = useQuery({ queryKey: ["presets"], queryFn: ({ signal }) => presetsOf(signal), staleTime: 60_000 });
  const same = (one: Params) => JSON.stringify(one) === JSON.stringify(look);
  const set = (name: string, value: unknown) => onLook({ ...look, [name]: value }, name);
  const number = (name: string, usual: number) => (typeof look[name] === "number" ? (look[name] as number) : usual);
  const aspects = videoFields.aspect?.enum?.map(String);
  return (
    <section className={classes.panel} aria-label="Look">
      <h2>Look</h2>
      <div className={classes.presets} role="radiogroup" aria-label="Presets">
        {(presets.data ?? []).map((one) => (
          <button key={one.name} type="button" role="radio" aria-checked={same(one.look)} className={classes.preset} onClick={() => onLook(one.look)}>
            {one.name.replace(/_/g, " ")}
          </button>
        ))}
      </div>
      <div className={classes.lookRow}>
        <div className={classes.nine} role="radiogroup" aria-label="Position">
          {GRID.map((one) => (
            <button key={one} type="button" role="radio" aria-checked={(look.position ?? "bottom") === one} aria-label={one.replace("-", " ")} title={one.replace("-", " ")} onClick={() => set("position", one)} />
          ))}
        </div>
        <div className={classes.sizes}>
          <label id="size-label" className={classes.label}>Size</label>
          <Slider thumbLabel="Text size" aria-labelledby="size-label" min={2.5} max={16} step={0.5} value={number("size_pct", 6)} onChange={(one) => set("size_pct", one)} label={(one) => `${one} %`} />
          <ColorInput aria-label="Colour of the letters" size="xs" value={(look.color as string | undefined) ?? "#FFFFFF"} onChange={(one) => /^#[0-9a-f]{6}$/i.test(one) && set("color", one)} format="hex" withEyeDropper={false} swatches={["#FFFFFF", "#111111", "#FFD400", "#FF5A36", "#5B5BD6", "#1FB66F"]} />
        </div>
      </div>
      {lookFields.motion?.enum && (
        <div>
          <span className={classes.label}>Motion</span>
          <SegmentedControl fullWidth size="xs" aria-label="How the text comes and goes" data={lookFields.motion.enum.map(String)} value={String(look.motion ?? "none")} onChange={(one) => set("motion", one)} />
        </div>
      )}
      {aspects && (
        <div>
          <span className={classes.label}>Shape</span>
          <SegmentedControl fullWidth size="xs" aria-label="Shape of the clips" data={aspects} value={String(video.aspect ?? "source")} onChange={(one) => onVideo({ ...video, aspect: one })} />
        </div>
      )}
    </section>
  );
}

interface PreviewProps {
  videoId: string;
  text: string;
  look: Params;
  video: Params;
  start: number;
  end: number;
  aspect: number;
  name: string;
}

/** What the agreed operation takes; null from a server that has none. */
async function previewed(asked: { videoId: string; text: string; look: Params; video: Params; start: number; end: number }, signal: AbortSignal): Promise<string | null> {
  const reply = await fetch(at("/api/v1/texts/preview"), {
    method: "POST",
    credentials: "same-origin",
    signal,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ video_id: asked.videoId, text: asked.text, style: asked.look, video: asked.video, start_s: asked.start, end_s: asked.end }),
  });
  if (reply.status === 404 || reply.status === 405) return null;
  if (!reply.ok) throw await problemOf(reply);
  return URL.createObjectURL(await reply.blob());
}

export function PreviewFrame({ videoId, text, look, video, start, end, aspect, name }: PreviewProps) {
  const [asked] = useDebouncedValue({ videoId, text, look, video, start, end }, 220);
  const frame = useQuery({
    queryKey: ["preview", asked],
    enabled: asked.text.trim() !== "",
    queryFn: ({ signal }) => previewed(asked, signal),
    placeholderData: keepPreviousData,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: 30_000,
    retry: false,
  });
  const told = frame.error as { what?: string; remedy?: string } | null;
  return (
    <figure className={classes.preview} data-stale={frame.isFetching || undefined}>
      {frame.data ? (
        <img src={frame.data} alt={`Frame of ${name} with its text`} />
      ) : (
        <div className={classes.sketch} style={{ aspectRatio: aspect, backgroundImage: `url("${posterOf(videoId)}")` }}>
          {text.trim() && <Sketch text={text} look={look} />}
        </div>
      )}
      <figcaption>
        {told ? `${told.what ?? ""} ${told.remedy ?? ""}` : frame.data ? "The frame as the clip will have it" : text.trim() ? "Sketch" : "No text"}
      </figcaption>
    </figure>
  );
}

/** About how it will look, by the browser's own letters. */
function Sketch({ text, look }: { text: string; look: Params }) {
  const position = String(look.position ?? "bottom");
  const size = typeof look.size_pct === "number" ? look.size_pct : 6;
  const outline = look.outline_color === null ? undefined : `0 0 3px #000, 0 0 2px #000, 0 1px 2px #000`;
  const box = typeof look.box_color === "string" ? look.box_color : undefined;
  return (
    <span
      className={classes.written}
      style={{
        fontSize: `${size * 0.5}cqi`,
        color: (look.color as string | undefined) ?? "#fff",
        textShadow: box ? undefined : outline,
        placeSelf: `${position.includes("top") ? "start" : position.includes("bottom") ? "end" : "center"} ${position.includes("left") ? "start" : position.includes("right") ? "end" : "center"}`,
      }}
    >
      <span style={box ? { background: `color-mix(in srgb, ${box} ${Number(look.box_opacity ?? 0.6) * 100}%, transparent)`, padding: "0.2em 0.45em", borderRadius: "0.25em", boxDecorationBreak: "clone" } : undefined}>{text}</span>
    </span>
  );
}
