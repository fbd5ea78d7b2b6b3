/** The scenes in order: picture, text, narration, length. A row is one scene; what it has is typed where it stands. */
import { ActionIcon, Menu, NumberInput, Textarea } from "@mantine/core";
import { ArrowDown, ArrowUp, Check, Copy, Ellipsis, History, LoaderCircle, Trash2 } from "lucide-react";
import { memo } from "react";
import type { Params } from "../clips/draft";
import { AS_WRITTEN } from "../lib/text";
import { roughly } from "../lib/time";
import { DrawnPicture } from "./Drawn";
import classes from "./Making.module.css";
import { sceneQuery } from "./queries";
import { behind, RATIOS } from "./ScenePanel";
import type { Fault, Scene } from "./script";

export type State = "new" | "same" | "waiting" | "working" | "made" | "reused";

const STATES: Record<State, { word: string; Icon?: typeof Check } | null> = {
  new: null,
  same: { word: "As it was: not made again", Icon: History },
  waiting: { word: "Waits" },
  working: { word: "Is drawn …", Icon: LoaderCircle },
  made: { word: "Made", Icon: Check },
  reused: { word: "Taken over", Icon: History },
};

interface Props {
  number: number;
  last: boolean;
  scene: Scene;
  shown: string;
  film: Params;
  seconds: number | null;
  state: State;
  isChosen: boolean;
  faults: Fault[];
  onChoose: (number: number, near?: boolean) => void;
  onChange: (number: number, change: Partial<Scene>, kind?: string) => void;
  onMove: (from: number, to: number) => void;
  onCopy: (number: number) => void;
  onRemove: (number: number) => void;
}

export const Row = memo(function Row({ number, last, scene, shown, film, seconds, state, isChosen, faults, onChoose, onChange, onMove, onCopy, onRemove }: Props) {
  const name = `scene ${number + 1}`;
  const aspect = RATIOS[String(film.aspect ?? "16:9")] ?? 16 / 9;
  const fault = (field: string) => faults.find((one) => one.field === field)?.message;
  const told = STATES[state];
  const params = JSON.parse(shown) as Params;
  const background = params.background as Scene["background"];
  const unfinished = background !== null && "video_id" in background && !background.video_id;
  const rest = faults.filter((one) => !["text", "narration", "duration_s"].includes(one.field));
  return (
    <li className={classes.row} data-chosen={isChosen || undefined} data-scene={number} onFocusCapture={() => onChoose(number)}>
      <div className={classes.picture}>
        <button type="button" className={classes.thumb} aria-label={`Picture of ${name}: ${behind(scene.background)}. Change it`} onClick={() => onChoose(number, true)}>
          <DrawnPicture query={sceneQuery(params, film)} alt="" aspect={aspect} idle={unfinished} small />
          <span className={classes.count}>{number + 1}</span>
        </button>
        <span className={classes.behind}>{behind(scene.background)}</span>
      </div>
      <div className={classes.words}>
        <Textarea aria-label={`Text of ${name}`} placeholder="Large on the picture" value={scene.text} minRows={1} maxRows={4} maxLength={500} error={fault("text")} attributes={AS_WRITTEN} onChange={(event) => onChange(number, { text: event.currentTarget.value }, `text-${number}`)} classNames={{ input: classes.title }} />
        <Textarea aria-label={`Narration of ${name}`} data-narration={number} placeholder="What is spoken" value={scene.narration} minRows={2} maxRows={8} maxLength={5000} error={fault("narration")} attributes={AS_WRITTEN} onChange={(event) => onChange(number, { narration: event.currentTarget.value }, `narration-${number}`)} />
        {rest.map((one) => <p key={one.field} className={classes.fault}>{one.message}</p>)}
        {told && (
          <p className={classes.state} data-state={state}>
            {told.Icon && <told.Icon size={13} aria-hidden />} {told.word}
          </p>
        )}
      </div>
      <div className={classes.end}>
        <NumberInput
          aria-label={`Seconds of ${name}`}
          className={classes.seconds}
          size="xs"
          suffix=" s"
          placeholder={seconds === null ? "as spoken" : `≈ ${seconds.toFixed(1)} s`}
          min={0.5}
          max={600}
          step={0.5}
          decimalScale={2}
          clampBehavior="blur"
          hideControls
          value={scene.duration ?? ""}
          error={fault("duration_s")}
          onChange={(one) => onChange(number, { duration: one === "" ? null : Number(one) }, `seconds-${number}`)}
        />
        <small>{scene.duration === null ? (scene.narration.trim() ? "as spoken" : "as read") : seconds !== null && seconds > scene.duration + 0.05 ? `spoken: ${roughly(seconds)}` : "fixed"}</small>
        <Menu position="bottom-end">
          <Menu.Target>
            <ActionIcon aria-label={`More for ${name}`}><Ellipsis size={17} /></ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item leftSection={<ArrowUp size={15} />} disabled={number === 0} onClick={() => onMove(number, number - 1)}>Move up</Menu.Item>
            <Menu.Item leftSection={<ArrowDown size={15} />} disabled={last} onClick={() => onMove(number, number + 1)}>Move down</Menu.Item>
            <Menu.Item leftSection={<Copy size={15} />} onClick={() => onCopy(number)}>Copy</Menu.Item>
            <Menu.Item leftSection={<Trash2 size={15} />} color="red" onClick={() => onRemove(number)}>Remove</Menu.Item>
          </Menu.Dropdown>
        </Menu>
      </div>
    </li>
  );
});
