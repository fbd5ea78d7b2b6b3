/** One scene from near: its true picture, and what stands behind its words. */
import { ColorInput, SegmentedControl, Select, Slider } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { videoQuery } from "../api/queries";
import classes from "../clips/Clips.module.css";
import type { Params } from "../clips/draft";
import { TimeField } from "../clips/TimeField";
import { timecode } from "../lib/time";
import { DrawnPicture } from "./Drawn";
import { FilmSelect } from "./FilmSelect";
import own from "./Making.module.css";
import { sceneQuery } from "./queries";
import type { Background, Position, Scene } from "./script";

type Kind = Background["kind"] | "auto";

const KINDS: { value: Kind; label: string }[] = [
  { value: "auto", label: "Auto" },
  { value: "color", label: "Colour" },
  { value: "gradient", label: "Gradient" },
  { value: "image", label: "Picture" },
  { value: "video", label: "Film" },
];
const PAIRS = [["#0F2027", "#2C5364"], ["#1A2A6C", "#7B4397"], ["#134E5E", "#3E8E6E"], ["#1D4350", "#A43931"], ["#283048", "#596B87"], ["#3A1C71", "#B0526B"]];
const COLOURS = ["#111317", "#1E3C72", "#134E5E", "#5A3F37", "#7A1E3A", "#F4F1EA"];
const MOTIONS = [
  { value: "zoom_in", label: "Move in" },
  { value: "zoom_out", label: "Move out" },
  { value: "pan_left", label: "Pan left" },
  { value: "pan_right", label: "Pan right" },
  { value: "none", label: "Stand still" },
];

export const RATIOS: Record<string, number> = { "16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1 };

/** What stands behind a scene, in a word or two. */
export function behind(background: Background | null): string {
  if (!background) return "Chosen for you";
  if (background.kind === "image") return `Picture at ${timecode(background.at_s ?? 0, 1)}`;
  if (background.kind === "video") return `Film from ${timecode(background.start_s ?? 0, 1)}`;
  return background.kind === "color" ? "Colour" : "Gradient";
}

interface Props {
  scene: Scene;
  /** The scene with the background that is planned for it. */
  shown: Params;
  number: number;
  film: Params;
  faults: { field: string; message: string }[];
  onChange: (change: Partial<Scene>, kind?: string) => void;
}

export function ScenePanel({ scene, shown, number, film, faults, onChange }: Props) {
  const [asked] = useDebouncedValue(shown, 250);
  const unfinished = (scene.background?.kind === "image" || scene.background?.kind === "video") && !scene.background.video_id;
  const aspect = RATIOS[String(film.aspect ?? "16:9")] ?? 16 / 9;
  const fault = unfinished ? "Choose the film to take it from." : faults.find((one) => one.field === "background")?.message;
  const set = (background: Background | null, kind = "") => onChange({ background }, kind);
  const choose = (kind: Kind) => {
    const before = scene.background;
    const video = before && "video_id" in before ? before.video_id : "";
    const first: Record<Kind, Background | null> = {
      auto: null,
      color: { kind: "color", color: (before?.kind === "gradient" && before.colors[0]) || "#1E3C72" },
      gradient: { kind: "gradient", colors: PAIRS[1] as string[], angle: 20 },
      image: { kind: "image", video_id: video, at_s: 0, motion: "zoom_in" },
      video: { kind: "video", video_id: video, start_s: 0 },
    };
    set(first[kind]);
  };
  return (
    <section className={classes.panel} aria-label={`Scene ${number + 1}`} id="scene-panel">
      <h2>Scene {number + 1}</h2>
      <DrawnPicture query={sceneQuery(asked, film)} alt={`The frame on which scene ${number + 1} begins`} aspect={aspect} idle={unfinished} />
      <div>
        <span className={classes.label}>Behind it</span>
        <SegmentedControl fullWidth size="xs" aria-label="What stands behind the scene" data={KINDS} value={scene.background?.kind ?? "auto"} onChange={(one) => choose(one as Kind)} />
      </div>
      <Behind background={scene.background} set={set} fault={fault} />
      <div>
        <span className={classes.label}>Where its text stands</span>
        <SegmentedControl
          fullWidth
          size="xs"
          aria-label="Where the text stands"
          data={[{ value: "top", label: "Top" }, { value: "center", label: "Centre" }, { value: "bottom", label: "Bottom" }]}
          value={scene.position}
          onChange={(one) => onChange({ position: one as Position })}
        />
      </div>
    </section>
  );
}

function Behind({ background, set, fault }: { background: Background | null; set: (background: Background, kind?: string) => void; fault?: string }) {
  if (!background) return <p className={classes.lead}>A gradient that suits the words; no two scenes have the same.</p>;
  if (background.kind === "color") {
    return <ColorInput label="Colour" size="xs" format="hex" withEyeDropper={false} swatches={COLOURS} value={background.color} error={fault} onChange={(one) => /^#[0-9a-f]{6}$/i.test(one) && set({ ...background, color: one }, "color")} />;
  }
  if (background.kind === "gradient") {
    return (
      <>
        <div className={own.pairs} role="group" aria-label="Gradients">
          {PAIRS.map((pair) => (
            <button key={pair.join()} type="button" aria-label={pair.join(" to ")} aria-pressed={pair.join() === background.colors.join()} style={{ background: `linear-gradient(${180 + (background.angle ?? 0)}deg, ${pair.join()})` }} onClick={() => set({ ...background, colors: pair })} />
          ))}
        </div>
        <div className={own.two}>
          {background.colors.map((color, n) => (
            <ColorInput key={`${n}-${background.colors.length}`} label={n === 0 ? "From" : n === background.colors.length - 1 ? "To" : "Over"} size="xs" format="hex" withEyeDropper={false} value={color} error={n === 0 ? fault : undefined} onChange={(one) => /^#[0-9a-f]{6}$/i.test(one) && set({ ...background, colors: background.colors.map((old, at) => (at === n ? one : old)) }, `color-${n}`)} />
          ))}
        </div>
        <div>
          <span className={classes.label} id="angle-label">Turned by {background.angle ?? 0}°</span>
          <Slider thumbLabel="Degrees by which the gradient is turned" aria-labelledby="angle-label" min={-180} max={180} step={5} value={background.angle ?? 0} label={(one) => `${one}°`} onChange={(one) => set({ ...background, angle: one }, "angle")} />
        </div>
      </>
    );
  }
  return <OfFilm background={background} set={set} fault={fault} />;
}

function OfFilm({ background, set, fault }: { background: Extract<Background, { video_id: string }>; set: (background: Background, kind?: string) => void; fault?: string }) {
  const film = useQuery({ ...videoQuery(background.video_id), enabled: background.video_id !== "" });
  const still = background.kind === "image";
  const time = (still ? background.at_s : background.start_s) ?? 0;
  const duration = film.data?.duration ?? 0;
  const to = (seconds: number) => {
    const at = Math.round(Math.min(Math.max(0, seconds), Math.max(0, duration - 0.04)) * 1000) / 1000;
    set(background.kind === "image" ? { ...background, at_s: at } : { ...background, start_s: at }, "time");
  };
  return (
    <>
      <FilmSelect label="Of which film" value={background.video_id || null} onChange={(id) => id && set({ ...background, video_id: id })} error={fault} />
      {duration > 0 && (
        <div className={own.time}>
          <Slider thumbLabel={still ? "Time of the picture" : "Where it begins"} min={0} max={duration} step={0.1} value={time} label={(one) => timecode(one, 1)} onChange={to} />
          <TimeField label={still ? "Picture at" : "Begins at"} value={time} onChange={to} showLabel />
          {still && <Select label="It is moved over" size="xs" data={MOTIONS} value={background.motion ?? "zoom_in"} onChange={(one) => set({ ...background, motion: one ?? "none" })} />}
        </div>
      )}
      {!still && <p className={classes.lead}>Cut to fill the picture, without its sound; after its end its last frame stands.</p>}
    </>
  );
}
