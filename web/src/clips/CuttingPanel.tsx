/** How the film is cut: every way that the server offers, from the pipeline's own schema. */
import { ActionIcon, Button, NumberInput, Tooltip } from "@mantine/core";
import { AudioLines, Dices, Film, Flag, Gauge, Rows3, Scissors, Shuffle, Sparkles } from "lucide-react";
import { ErrorCard } from "../ui/ErrorCard";
import classes from "./Clips.module.css";
import type { Draft, Params } from "./draft";
import { type Field, SchemaFields } from "./SchemaFields";

const KNOWN: Record<string, { label: string; Icon: typeof Film; lead: string }> = {
  fixed: { label: "Equal", Icon: Rows3, lead: "Clips of one length, one after the other." },
  random: { label: "Random", Icon: Shuffle, lead: "Lengths by chance. The same seed gives the same cuts, on any machine." },
  manual: { label: "Marks", Icon: Flag, lead: "Your own ins and outs. Mark them with I and O while the film plays, drag them, or type them." },
  scenes: { label: "Shots", Icon: Film, lead: "A clip for each shot of the film." },
  silence: { label: "Pauses", Icon: AudioLines, lead: "Cuts where nobody speaks." },
  highlights: { label: "Highlights", Icon: Sparkles, lead: "The spans in which most happens, best first." },
};

export interface Way {
  kind: string;
  fields: Record<string, Field>;
}

/** The ways of cutting that are in the pipeline's schema. */
export function waysOf(schema: Record<string, unknown> | undefined): Way[] {
  const defs = (schema?.$defs ?? {}) as Record<string, Field>;
  const cutting = (schema?.properties as Record<string, Field> | undefined)?.cutting;
  return (cutting?.oneOf ?? cutting?.anyOf ?? []).flatMap((one) => {
    const found = one.$ref ? defs[one.$ref.split("/").at(-1) ?? ""] : one;
    const kind = found?.properties?.kind?.const;
    return found?.properties && typeof kind === "string" ? [{ kind, fields: found.properties }] : [];
  });
}

interface Props {
  ways: Way[];
  draft: Draft;
  seed?: number;
  onKind: (kind: string) => void;
  onCutting: (kind: string, value: Params, name: string) => void;
  onReroll: () => void;
  onMark: () => void;
  error?: unknown;
}

export function CuttingPanel({ ways, draft, seed, onKind, onCutting, onReroll, onMark, error }: Props) {
  const way = ways.find((one) => one.kind === draft.kind);
  const value = draft.cuttings[draft.kind] ?? {};
  const set = (next: Params, name: string) => onCutting(draft.kind, next, name);
  return (
    <section className={classes.panel} aria-label="Cuts">
      <h2>Cuts</h2>
      <div className={classes.ways} role="radiogroup" aria-label="How the film is cut">
        {ways.map(({ kind }) => {
          const { label, Icon } = KNOWN[kind] ?? { label: kind, Icon: Gauge };
          return (
            <button key={kind} type="button" role="radio" aria-checked={kind === draft.kind} className={classes.way} onClick={() => onKind(kind)}>
              <Icon size={17} aria-hidden />
              {label}
            </button>
          );
        })}
      </div>
      <p className={classes.lead}>{KNOWN[draft.kind]?.lead}</p>
      {draft.kind === "manual" ? (
        <Button variant="default" size="xs" leftSection={<Scissors size={14} />} onClick={onMark}>
          Mark from the playhead on
        </Button>
      ) : (
        way && <SchemaFields key={draft.kind} fields={way.fields} value={value} onChange={set} skip={["seed"]} />
      )}
      {way?.fields.seed && (
        <NumberInput
          label="Seed"
          description="Keep it to get these very cuts again."
          value={(value.seed as number | undefined) ?? seed ?? ""}
          min={0}
          max={Number.MAX_SAFE_INTEGER}
          hideControls
          onChange={(one) => set({ ...value, seed: one === "" ? undefined : Number(one) }, "seed")}
          rightSectionWidth={40}
          rightSection={
            <Tooltip label="Other cuts (R)">
              <ActionIcon onClick={onReroll} aria-label="Roll another seed" size={30}>
                <Dices size={17} />
              </ActionIcon>
            </Tooltip>
          }
        />
      )}
      {error !== undefined && error !== null && <ErrorCard error={error} compact />}
    </section>
  );
}
