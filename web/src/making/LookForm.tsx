/** All values of a look, in groups as one thinks of them. */
import { ColorInput, SegmentedControl, Select, Slider, Switch } from "@mantine/core";
import type { ReactNode } from "react";
import classes from "../clips/Clips.module.css";
import type { Params } from "../clips/draft";
import { GRID } from "../clips/StylePanel";
import own from "./Making.module.css";

const SWATCHES = ["#FFFFFF", "#111111", "#FFD400", "#FF5A36", "#5B5BD6", "#1FB66F", "#2457F5", "#0B0E14"];
const SAFE = [
  { value: "auto", label: "Automatic: by the clip's shape" },
  { value: "title", label: "Television: 5 % at each edge" },
  { value: "tiktok", label: "TikTok" },
  { value: "reels", label: "Instagram Reels" },
  { value: "shorts", label: "YouTube Shorts" },
  { value: "none", label: "None" },
];

interface Props {
  style: Params;
  fonts: string[];
  faults: { field: string; message: string }[];
  onChange: (part: Params, kind?: string) => void;
}

export function LookForm({ style, fonts, faults, onChange }: Props) {
  const fault = (name: string) => faults.find((one) => one.field === name || one.field === `style.${name}`)?.message;
  const text = (name: string, usual: string) => (typeof style[name] === "string" ? (style[name] as string) : usual);
  const colour = (name: string, label: string, usual: string) => (
    <ColorInput label={label} size="xs" format="hex" withEyeDropper={false} swatches={SWATCHES} swatchesPerRow={8} value={text(name, usual)} error={fault(name)} onChange={(one) => /^#[0-9a-f]{6}$/i.test(one) && onChange({ [name]: one }, name)} />
  );
  const amount = (name: string, label: string, min: number, max: number, step = 1, unit = " %", times = 1) => {
    const value = Math.round((typeof style[name] === "number" ? (style[name] as number) : 0) * times * 100) / 100;
    return (
      <div>
        <span className={classes.label} id={`${name}-label`}>{label} <span className="rm-dim rm-num">{value}{unit}</span></span>
        <Slider thumbLabel={label} aria-labelledby={`${name}-label`} min={min} max={max} step={step} value={value} label={(one) => `${one}${unit}`} onChange={(one) => onChange({ [name]: one / times }, name)} />
        {fault(name) && <p className={own.fault}>{fault(name)}</p>}
      </div>
    );
  };
  const outlined = typeof style.outline_color === "string" && Number(style.outline_pct) > 0;
  const boxed = typeof style.box_color === "string";
  const accent = text("accent", "none");
  return (
    <>
      <Group title="Letters">
        <Select label="Font" size="xs" data={[{ value: "", label: "Noto Sans" }, ...fonts.map((one) => ({ value: one, label: one }))]} value={text("font", "")} description={fonts.length ? undefined : "Fonts of your own: reelmill fonts add FILE"} error={fault("font")} onChange={(one) => onChange({ font: one || null })} />
        {amount("size_pct", "Size", 2.5, 20, 0.1)}
        <div>
          <span className={classes.label}>Weight</span>
          <SegmentedControl fullWidth size="xs" aria-label="Weight of the letters" data={[{ value: "400", label: "Regular" }, { value: "600", label: "Semibold" }, { value: "700", label: "Bold" }]} value={String(style.weight ?? 600)} onChange={(one) => onChange({ weight: Number(one) })} />
        </div>
        {colour("color", "Colour", "#FFFFFF")}
      </Group>
      <Group title="Placement">
        <div className={classes.lookRow}>
          <div className={classes.nine} role="radiogroup" aria-label="Position">
            {GRID.map((one) => (
              <button key={one} type="button" role="radio" aria-checked={text("position", "bottom") === one} aria-label={one.replace("-", " ")} title={one.replace("-", " ")} onClick={() => onChange({ position: one })} />
            ))}
          </div>
          <div className={classes.sizes}>
            {amount("margin_pct", "Margin", 0, 20, 0.5)}
            {amount("max_width_pct", "Widest line", 20, 100)}
          </div>
        </div>
        <div>
          <span className={classes.label}>Lines</span>
          <SegmentedControl fullWidth size="xs" aria-label="How lines stand to each other" data={[{ value: "auto", label: "Auto" }, { value: "left", label: "Left" }, { value: "center", label: "Centre" }, { value: "right", label: "Right" }]} value={text("align", "auto")} onChange={(one) => onChange({ align: one })} />
        </div>
        <div>
          <span className={classes.label}>Comes and goes</span>
          <SegmentedControl fullWidth size="xs" aria-label="How the text comes and goes" data={["none", "fade", "slide", "pop"]} value={text("motion", "none")} onChange={(one) => onChange({ motion: one })} />
        </div>
        <Select label="Kept free for an app's own signs" size="xs" data={SAFE} value={text("safe_area", "auto")} error={fault("safe_area")} onChange={(one) => onChange({ safe_area: one ?? "auto" })} />
      </Group>
      <Group title="Box" on={boxed} onSwitch={(on) => onChange({ box_color: on ? "#0B0E14" : null, ...(on && !style.box_opacity ? { box_opacity: 0.8 } : {}) })}>
        {colour("box_color", "Colour", "#0B0E14")}
        {amount("box_opacity", "Opacity", 0, 100, 1, " %", 100)}
        {amount("box_padding_pct", "Padding", 0, 120)}
        {amount("box_radius_pct", "Round corners", 0, 200)}
        <div>
          <span className={classes.label}>Shape</span>
          <SegmentedControl fullWidth size="xs" aria-label="Shape of the box" data={[{ value: "block", label: "One box" }, { value: "lines", label: "One for each line" }]} value={text("box_shape", "block")} onChange={(one) => onChange({ box_shape: one })} />
        </div>
      </Group>
      <Group title="Outline" on={outlined} onSwitch={(on) => onChange(on ? { outline_color: text("outline_color", "#000000"), outline_pct: Number(style.outline_pct) || 8 } : { outline_pct: 0 })}>
        {colour("outline_color", "Colour", "#000000")}
        {amount("outline_pct", "Width", 0.5, 25, 0.5)}
      </Group>
      <Group title="Shadow" on={Number(style.shadow_pct) > 0} onSwitch={(on) => onChange({ shadow_pct: on ? 16 : 0 })}>
        {amount("shadow_pct", "Softness", 1, 50)}
        {amount("shadow_opacity", "Opacity", 0, 100, 1, " %", 100)}
      </Group>
      <Group title="Accent">
        <SegmentedControl fullWidth size="xs" aria-label="Accent" data={[{ value: "none", label: "None" }, { value: "bar", label: "Bar" }, { value: "underline", label: "Rule" }, { value: "quote", label: "Quote" }]} value={accent} onChange={(one) => onChange({ accent: one })} />
        {accent !== "none" && colour("accent_color", "Colour", "#FF5A36")}
      </Group>
    </>
  );
}

function Group({ title, on, onSwitch, children }: { title: string; on?: boolean; onSwitch?: (on: boolean) => void; children: ReactNode }) {
  return (
    <section className={classes.panel} aria-label={title}>
      <div className={own.groupHead}>
        <h2>{title}</h2>
        {onSwitch && <Switch aria-label={title} checked={on} onChange={(event) => onSwitch(event.currentTarget.checked)} />}
      </div>
      {on !== false && children}
    </section>
  );
}
