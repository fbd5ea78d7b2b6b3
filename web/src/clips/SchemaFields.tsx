/** The plain fields of a JSON schema: numbers, switches, choices, words. What is special, its screen draws itself. */
import { NumberInput, Select, Switch, TextInput } from "@mantine/core";
import { said } from "../ui/schema";
import type { Params } from "./draft";
import classes from "./Clips.module.css";

export interface Field {
  type?: string;
  const?: unknown;
  enum?: unknown[];
  anyOf?: Field[];
  default?: unknown;
  description?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  title?: string;
  $ref?: string;
  oneOf?: Field[];
  properties?: Record<string, Field>;
  items?: Field;
}

const UNITS: Record<string, string> = { s: " s", pct: " %", kbps: " kbit/s", ms: " ms", px: " px", lufs: " LUFS", db: " dB" };

/** `tail_below_s` → `Tail below`, in ` s`. */
export function namedField(name: string): { label: string; unit: string } {
  const words = name.split("_");
  const unit = UNITS[words.at(-1) ?? ""] ?? "";
  if (unit && words.length > 1) words.pop();
  const label = words.join(" ");
  return { label: label.charAt(0).toUpperCase() + label.slice(1), unit };
}

/** What a field takes beside null. */
export function core(field: Field): Field {
  const real = field.anyOf?.filter((one) => one.type !== "null") ?? [];
  return real.length === 1 && real[0] ? { ...real[0], default: field.default, description: field.description } : field;
}

interface Props {
  fields: Record<string, Field>;
  value: Params;
  onChange: (value: Params, name: string) => void;
  skip?: string[];
}

export function SchemaFields({ fields, value, onChange, skip = [] }: Props) {
  const set = (name: string, one: unknown) => {
    const { [name]: _, ...rest } = value;
    onChange(one === undefined ? rest : { ...rest, [name]: one }, name);
  };
  return (
    <div className={classes.fields}>
      {Object.entries(fields).map(([name, given]) => {
        const field = core(given);
        if (skip.includes(name) || field.const !== undefined) return null;
        const { label, unit } = namedField(name);
        const now = value[name] ?? field.default ?? null;
        const help = said(field.description);
        if (field.enum) {
          return (
            <Select key={name} label={label} description={help} value={now === null ? null : String(now)} data={field.enum.map(String)} clearable={given.anyOf !== undefined} onChange={(one) => set(name, one ?? null)} />
          );
        }
        if (field.type === "number" || field.type === "integer") {
          return (
            <NumberInput
              key={name}
              label={label}
              description={help}
              value={typeof now === "number" ? now : ""}
              suffix={unit}
              min={field.minimum ?? field.exclusiveMinimum}
              max={field.maximum}
              clampBehavior="blur"
              allowDecimal={field.type === "number"}
              step={field.type === "integer" ? 1 : (field.maximum ?? 100) <= 1 ? 0.05 : 1}
              hideControls={(field.maximum ?? 0) > 1e9}
              placeholder={given.anyOf ? "automatic" : undefined}
              onChange={(one) => set(name, one === "" ? (given.anyOf ? null : undefined) : Number(one))}
            />
          );
        }
        if (field.type === "boolean") {
          return <Switch key={name} label={label} description={help} checked={Boolean(now)} onChange={(event) => set(name, event.currentTarget.checked)} />;
        }
        if (field.type === "string") {
          return <TextInput key={name} label={label} description={help} value={typeof now === "string" ? now : ""} onChange={(event) => set(name, event.currentTarget.value || undefined)} />;
        }
        return null;
      })}
    </div>
  );
}
