/** What belongs to the whole film: shape, sizes, voice, captions, music, and how scenes follow each other. */
import { Chip, Code, Collapse, NumberInput, SegmentedControl, Select, Slider, Switch, TextInput, UnstyledButton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { ChevronDown } from "lucide-react";
import { useState } from "react";
import classes from "../clips/Clips.module.css";
import type { Params } from "../clips/draft";
import { AS_WRITTEN } from "../lib/text";
import { FilmSelect } from "./FilmSelect";
import own from "./Making.module.css";
import { voicesQuery } from "./queries";
import { type Fault, QUALITIES, USUAL_QUALITIES } from "./script";

const TRANSITIONS = [
  { value: "fade", label: "Cross-fade" },
  { value: "dissolve", label: "Dissolve" },
  { value: "fadeblack", label: "Through black" },
  { value: "fadewhite", label: "Through white" },
  { value: "wipeleft", label: "Wipe" },
  { value: "slideleft", label: "Slide" },
  { value: "circleopen", label: "Circle" },
  { value: "none", label: "Hard cut" },
];
const CAPTIONS = [
  { value: "both", label: "Both" },
  { value: "burnt", label: "In picture" },
  { value: "webvtt", label: "As file" },
  { value: "none", label: "None" },
];

interface Props {
  title: string;
  planned?: string;
  film: Params;
  faults: Fault[];
  onTitle: (title: string) => void;
  onFilm: (film: Params, kind?: string) => void;
}

interface Music {
  video_id: string;
  volume_db?: number;
  duck?: boolean;
}

export function FilmPanel({ title, planned, film, faults, onTitle, onFilm }: Props) {
  const voices = useQuery(voicesQuery);
  const [more, setMore] = useState(false);
  const set = (name: string, value: unknown, kind = "") => {
    const { [name]: _, ...rest } = film;
    onFilm(value === undefined ? rest : { ...rest, [name]: value }, kind);
  };
  const fault = (name: string) => faults.find((one) => one.scene === null && one.field.split(".")[0] === name)?.message;
  const number = (name: string, usual: number) => (typeof film[name] === "number" ? (film[name] as number) : usual);
  const sizes = (film.quality_levels as string[] | undefined) ?? USUAL_QUALITIES;
  const music = film.music as Music | undefined;
  const transition = String(film.transition ?? "fade");
  return (
    <section className={classes.panel} aria-label="The whole film">
      <h2>The whole film</h2>
      <TextInput label="Title" placeholder={planned ?? "Taken from its first words"} value={title} maxLength={120} error={fault("title")} onChange={(event) => onTitle(event.currentTarget.value)} attributes={AS_WRITTEN} />
      <div>
        <span className={classes.label}>Shape</span>
        <SegmentedControl
          fullWidth
          size="xs"
          aria-label="Shape of the picture"
          data={["16:9", "9:16", "1:1"].map((value) => ({ value, label: <span className={own.shape}><i style={{ aspectRatio: value.replace(":", " / ") }} />{value}</span> }))}
          value={String(film.aspect ?? "16:9")}
          onChange={(one) => set("aspect", one)}
        />
      </div>
      <div>
        <span className={classes.label}>Sizes</span>
        <Chip.Group multiple value={sizes} onChange={(all) => all.length && set("quality_levels", QUALITIES.filter((one) => all.includes(one)))}>
          <div className={own.chips} role="group" aria-label="Sizes">
            {QUALITIES.map((one) => <Chip key={one} value={one} size="xs" radius="sm">{one}</Chip>)}
          </div>
        </Chip.Group>
        {fault("quality_levels") && <p className={own.fault}>{fault("quality_levels")}</p>}
      </div>
      <VoiceChoice voices={voices.data} value={(film.voice as string | undefined) ?? null} error={fault("voice")} onChange={(one) => set("voice", one ?? undefined)} />
      <div>
        <span className={classes.label}>Captions</span>
        <SegmentedControl fullWidth size="xs" aria-label="Captions" data={CAPTIONS} value={String(film.captions ?? "both")} onChange={(one) => set("captions", one)} />
      </div>
      <FilmSelect label="Music" description="The sound of a film of the library, repeated and faded out." value={music?.video_id ?? null} clearable error={fault("music")} onChange={(id) => set("music", id ? { ...music, video_id: id } : undefined)} />
      {music && (
        <>
          <div>
            <span className={classes.label} id="volume-label">Quieter by {-(music.volume_db ?? -14)} dB</span>
            <Slider thumbLabel="How much quieter the music is made" aria-labelledby="volume-label" min={-40} max={0} step={1} value={music.volume_db ?? -14} label={(one) => `${one} dB`} onChange={(one) => set("music", { ...music, volume_db: one }, "volume")} />
          </div>
          <Switch label="Steps back while somebody speaks" checked={music.duck ?? true} onChange={(event) => set("music", { ...music, duck: event.currentTarget.checked })} />
        </>
      )}
      <div className={own.two}>
        <Select label="From scene to scene" data={TRANSITIONS} value={transition} onChange={(one) => set("transition", one ?? "fade")} />
        <NumberInput label="For" suffix=" s" min={0.1} max={2} step={0.1} decimalScale={2} value={number("transition_s", 0.5)} disabled={transition === "none"} error={fault("transition_s")} onChange={(one) => set("transition_s", one === "" ? undefined : Number(one), "transition_s")} />
      </div>
      <UnstyledButton className={own.more} aria-expanded={more} onClick={() => setMore((now) => !now)}>
        <ChevronDown size={15} aria-hidden style={{ rotate: more ? "180deg" : undefined }} /> More
      </UnstyledButton>
      <Collapse expanded={more}>
        <div className={own.two}>
          <Select label="Frames a second" data={["24", "25", "30", "50", "60"]} value={String(film.frame_rate ?? 30)} onChange={(one) => set("frame_rate", Number(one))} />
          <NumberInput label="Pause after a sentence" suffix=" s" min={0} max={5} step={0.05} decimalScale={2} value={number("pause_s", 0.35)} error={fault("pause_s")} onChange={(one) => set("pause_s", one === "" ? undefined : Number(one), "pause_s")} />
          <NumberInput label="Rate factor" description="Lower is better and larger." min={0} max={51} value={number("crf", 21)} error={fault("crf")} onChange={(one) => set("crf", one === "" ? undefined : Number(one), "crf")} />
        </div>
      </Collapse>
    </section>
  );
}

interface VoiceProps {
  voices?: { engine: string | null; kind: string; items: { name: string; title: string }[]; engines: { kind: string; title: string; needs_key: boolean; setup: string }[] };
  value: string | null;
  error?: string;
  onChange: (voice: string | null) => void;
}

function VoiceChoice({ voices, value, error, onChange }: VoiceProps) {
  const [open, setOpen] = useState(false);
  const used = voices?.engines.find((one) => one.kind === voices.kind);
  const usual = { espeak: "English (America)", openai: "alloy", gemini: "Kore" }[voices?.kind ?? ""] ?? "its only voice";
  const needs = !voices ? " " : voices.engine === null ? "No voice is set up: narrations are refused." : `${used?.title ?? voices.engine}. ${used?.needs_key ? "By the server's key." : "No key needed."}`;
  return (
    <div>
      {voices && voices.items.length === 0 && voices.kind !== "piper" && voices.engine !== null ? (
        <TextInput label="Voice" description={needs} placeholder={usual} value={value ?? ""} error={error} onChange={(event) => onChange(event.currentTarget.value.trim() || null)} />
      ) : (
        <Select
          label="Voice"
          description={needs}
          placeholder={usual}
          data={voices?.items.map((one) => ({ value: one.name, label: `${one.title} (${one.name})` })) ?? []}
          value={value}
          searchable
          clearable
          limit={60}
          disabled={!voices?.items.length}
          error={error}
          onChange={onChange}
        />
      )}
      <UnstyledButton className={own.more} aria-expanded={open} onClick={() => setOpen((now) => !now)}>
        <ChevronDown size={15} aria-hidden style={{ rotate: open ? "180deg" : undefined }} /> Other voices, and what they need
      </UnstyledButton>
      <Collapse expanded={open}>
        <ul className={own.engines}>
          {voices?.engines.map((one) => (
            <li key={one.kind} data-used={one.kind === voices.kind || undefined}>
              <b>{one.title}</b>
              <span>{one.kind === voices.kind && voices.engine ? "Speaks here" : one.needs_key ? "Needs a key" : "No key"}</span>
              <Code>{one.setup}</Code>
            </li>
          ))}
        </ul>
      </Collapse>
    </div>
  );
}
