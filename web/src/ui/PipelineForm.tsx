/** A form for any pipeline, from its JSON schema: what has a default may stay empty. */
import { ColorInput, Fieldset, JsonInput, MultiSelect, NumberInput, Select, Switch, TagsInput, Textarea, TextInput } from "@mantine/core";
import { asApiError } from "../api/client";
import { alternatives, constant, label, resolved, said, type Schema, tag, type Value, without } from "./schema";
import classes from "./PipelineForm.module.css";

interface Props {
  schema: Record<string, unknown>;
  value: Value;
  onChange: (value: Value) => void;
  /** What the server said: its faults are shown at their fields. */
  error?: unknown;
}

export function PipelineForm({ schema, value, onChange, error }: Props) {
  const root = schema as Schema;
  const faults = new Map(error == null ? [] : asApiError(error).fields.map((one) => [one.field.replace(/^body\./, "").replace(/^params\./, ""), one.message]));
  return <Fields root={root} schema={root} value={value} onChange={onChange} faults={faults} path="" />;
}

const NONE = ""; //: of the alternatives: not at all

interface Common {
  root: Schema;
  faults: Map<string, string>;
  path: string;
}

function Fields({ root, schema, value, onChange, faults, path, skip }: Common & { schema: Schema; value: Value; onChange: (value: Value) => void; skip?: string }) {
  const names = Object.keys(schema.properties ?? {}).filter((name) => name !== skip);
  const required = new Set(schema.required ?? []);
  const sorted = [...names.filter((name) => required.has(name)), ...names.filter((name) => !required.has(name))];
  return (
    <div className={classes.fields}>
      {sorted.map((name) => (
        <Field
          key={name}
          root={root}
          name={name}
          schema={resolved(schema.properties?.[name] ?? {}, root)}
          required={required.has(name)}
          value={value[name]}
          onChange={(next) => onChange(next === undefined ? without(value, name) : { ...value, [name]: next })}
          faults={faults}
          path={path ? `${path}.${name}` : name}
        />
      ))}
    </div>
  );
}

function Field({ root, name, schema, required, value, onChange, faults, path }: Common & { name: string; schema: Schema; required: boolean; value: unknown; onChange: (value: unknown) => void }) {
  const { kinds, nullable } = alternatives(schema, root);
  const about = kinds[0] ? { ...kinds[0], description: schema.description ?? kinds[0].description, default: schema.default } : schema;
  const common = { label: label(name), description: said(about.description), required, error: faults.get(path) };
  const preset = schema.default === undefined || schema.default === null ? undefined : String(schema.default);
  const kindName = kinds.every((one) => one.properties) ? tag(kinds) : null;

  if (kinds.length > 1 && kindName) {
    const chosen = (value ?? schema.default ?? {}) as Value;
    const none = nullable && value == null && schema.default == null;
    const now = none ? NONE : String(chosen[kindName] ?? constant(kinds[0] ?? {}, kindName));
    const kind = kinds.find((one) => constant(one, kindName) === now);
    return (
      <Fieldset legend={label(name)} className={classes.wide}>
        <Select
          label={label(kindName)}
          description={said(kind?.description ?? about.description)}
          data={[...(nullable ? [{ value: NONE, label: "None" }] : []), ...kinds.map((one) => ({ value: constant(one, kindName), label: label(constant(one, kindName)) }))]}
          value={now}
          onChange={(next) => onChange(next === NONE ? undefined : { [kindName]: next })}
          mb={kind ? "sm" : 0}
        />
        {kind && <Fields root={root} schema={kind} value={chosen} onChange={(next) => onChange({ ...next, [kindName]: now })} faults={faults} path={`${path}.${now}`} skip={kindName} />}
      </Fieldset>
    );
  }
  if (kinds.length === 1 && about.properties) {
    const optional = !required && (schema.default === null || schema.default === undefined);
    return (
      <Fieldset legend={label(name)} className={classes.wide}>
        {optional && <Switch label={said(about.description) ?? label(name)} checked={value != null} onChange={(event) => onChange(event.currentTarget.checked ? {} : undefined)} mb={value != null ? "sm" : 0} />}
        {(!optional || value != null) && <Fields root={root} schema={about} value={(value ?? {}) as Value} onChange={onChange} faults={faults} path={path} />}
      </Fieldset>
    );
  }
  if (kinds.length === 1 && about.enum) {
    const numbers = about.enum.some((one) => typeof one === "number");
    return (
      <Select
        {...common}
        data={about.enum.map(String)}
        value={String(value ?? schema.default ?? "") || null}
        placeholder={preset}
        onChange={(next) => onChange(next === null ? undefined : numbers ? Number(next) : next)}
      />
    );
  }
  if (kinds.length === 1 && about.type === "boolean") {
    return <Switch {...common} required={undefined} checked={Boolean(value ?? schema.default)} onChange={(event) => onChange(event.currentTarget.checked)} />;
  }
  if (kinds.length === 1 && (about.type === "integer" || about.type === "number")) {
    return (
      <NumberInput
        {...common}
        value={(value as number | undefined) ?? ""}
        placeholder={preset ?? (required ? undefined : "None")}
        min={about.minimum ?? about.exclusiveMinimum}
        max={about.maximum}
        step={about.multipleOf ?? 1}
        allowDecimal={about.type === "number"}
        onChange={(next) => onChange(typeof next === "number" ? next : undefined)}
      />
    );
  }
  if (kinds.length === 1 && about.type === "string") {
    const text = (value as string | undefined) ?? "";
    const props = { ...common, value: text, placeholder: preset ?? (required ? undefined : "None") };
    if (about.pattern?.startsWith("^#[0-9A-Fa-f]")) return <ColorInput {...props} format="hex" onChange={(next) => onChange(next || undefined)} />;
    if ((about.maxLength ?? 0) > 300) return <Textarea {...props} className={classes.wide} onChange={(event) => onChange(event.currentTarget.value || undefined)} />;
    return <TextInput {...props} onChange={(event) => onChange(event.currentTarget.value || undefined)} />;
  }
  if (kinds.length === 1 && about.type === "array") {
    const items = resolved(about.items ?? {}, root);
    const numbers = items.type === "integer" || items.type === "number";
    const list = ((value ?? schema.default ?? []) as unknown[]).map(String);
    const give = (next: string[]) => onChange(next.length ? (numbers ? next.map(Number).filter(Number.isFinite) : next) : undefined);
    if (items.enum) return <MultiSelect {...common} data={items.enum.map(String)} value={list} onChange={give} maxValues={about.maxItems} />;
    if (items.type === "string" && (items.maxLength ?? 0) > 150) {
      return <Textarea {...common} className={classes.wide} description={`${said(about.description) ?? ""} One on each line.`} value={list.join("\n")} minRows={4} onChange={(event) => give(event.currentTarget.value.split("\n").filter(Boolean))} />;
    }
    if (items.type === "string" || numbers) return <TagsInput {...common} value={list} onChange={give} maxTags={about.maxItems} />;
  }
  return (
    <JsonInput
      {...common}
      className={classes.wide}
      autosize
      minRows={3}
      formatOnBlur
      validationError="This isn't JSON."
      defaultValue={value === undefined ? (schema.default == null ? "" : JSON.stringify(schema.default, null, 2)) : JSON.stringify(value, null, 2)}
      onChange={(text) => {
        try {
          onChange(text.trim() ? JSON.parse(text) : undefined);
        } catch {
          // typed in part
        }
      }}
    />
  );
}
