/** How a text looks, and the frame that the clip will have, made by the server from the code that makes the clip. */
import { ColorInput, SegmentedControl, Slider } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { at, problemOf } from "../api/client";
import { presetsQuery } from "../making/queries";
import classes from "./Clips.module.css";
import type { Params } from "./draft";
import { posterOf } from "./queries";
import type { Field } from "./SchemaFields";

export const GRID = ["top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"];

interface Props {
  look: Params;
  video: Params;
  videoFields: Record<string, Field>;
  lookFields: Record<string, Field>;
  onLook: (look: Params, kind?: string) => void;
  onVideo: (video: Params) => void;
}

export function StylePanel({ look, video, videoFields, lookFields, onLook, onVideo }: Props) {
  const presets = useQuery(presetsQuery);
  // What the preset sets stands in its fields, until one changes it.
  const begun = presets.data?.items.find((one) => one.name === (look.preset ?? "caption"))?.style ?? {};
  const now = { ...begun, ...look };
  const set = (name: string, value: unknown) => onLook({ ...look, [name]: value }, name);
  const number = (name: string, usual: number) => (typeof now[name] === "number" ? (now[name] as number) : usual);
  const aspects = videoFields.aspect?.enum?.map(String);
  return (
    <section className={classes.panel} aria-label="Look">
      <div className={classes.panelHead}>
        <h2>Look</h2>
        <Link to="/presets" search={{}}>See and make looks</Link>
      </div>
      <div className={classes.presets} role="radiogroup" aria-label="Presets">
        {presets.data?.items.map((one) => (
          <button key={one.name} type="button" role="radio" aria-checked={(look.preset ?? "caption") === one.name} data-own={one.id !== null || undefined} className={classes.preset} onClick={() => onLook(one.name === "caption" ? {} : { preset: one.name })}>
            {one.id === null ? one.name.replace(/_/g, " ") : one.name}
          </button>
        ))}
      </div>
      <div className={classes.lookRow}>
        <div className={classes.nine} role="radiogroup" aria-label="Position">
          {GRID.map((one) => (
            <button key={one} type="button" role="radio" aria-checked={(now.position ?? "bottom") === one} aria-label={one.replace("-", " ")} title={one.replace("-", " ")} onClick={() => set("position", one)} />
          ))}
        </div>
        <div className={classes.sizes}>
          <label id="size-label" className={classes.label}>Size</label>
          <Slider thumbLabel="Text size" aria-labelledby="size-label" min={2.5} max={16} step={0.5} value={number("size_pct", 6)} onChange={(one) => set("size_pct", one)} label={(one) => `${one} %`} />
          <ColorInput aria-label="Colour of the letters" size="xs" value={(now.color as string | undefined) ?? "#FFFFFF"} onChange={(one) => /^#[0-9a-f]{6}$/i.test(one) && set("color", one)} format="hex" withEyeDropper={false} swatches={["#FFFFFF", "#111111", "#FFD400", "#FF5A36", "#5B5BD6", "#1FB66F"]} />
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

/** The server's own frame, by what draws the clips. */
async function previewed(asked: { videoId: string; text: string; look: Params; video: Params; start: number; end: number }, signal: AbortSignal): Promise<string> {
  const reply = await fetch(at("/api/v1/texts/preview"), {
    method: "POST",
    credentials: "same-origin",
    signal,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ video_id: asked.videoId, text: asked.text, style: asked.look, video: asked.video, start_s: asked.start, end_s: asked.end }),
  });
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
export function Sketch({ text, look }: { text: string; look: Params }) {
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
