/** A pipeline's JSON schema, as its form reads it. */

export interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  $ref?: string;
  $defs?: Record<string, Schema>;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  multipleOf?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  maxItems?: number;
  discriminator?: { propertyName: string };
}

export type Value = Record<string, unknown>;

/** Follow `$ref`, and take the one of `allOf`; what stands beside it (title, default) wins. */
export function resolved(schema: Schema, root: Schema): Schema {
  let found = schema;
  for (let depth = 0; depth < 8; depth++) {
    const { $ref, allOf, ...own } = found;
    if ($ref) found = { ...(root.$defs?.[$ref.split("/").at(-1) ?? ""] ?? {}), ...own };
    else if (allOf?.length === 1 && allOf[0]) found = { ...allOf[0], ...own };
    else break;
  }
  return found;
}

/** The alternatives of a field, without `null`; and whether `null` is one. */
export function alternatives(schema: Schema, root: Schema): { kinds: Schema[]; nullable: boolean } {
  const all = flat(schema, root);
  const kinds = all.filter((one) => one.type !== "null");
  return { kinds, nullable: kinds.length < all.length };
}

function flat(schema: Schema, root: Schema): Schema[] {
  const inner = schema.oneOf ?? schema.anyOf;
  return inner ? inner.flatMap((one) => flat(resolved(one, root), root)) : [schema];
}

/** The property whose constant tells alternatives of objects apart: `strategy`, `kind`. */
export function tag(kinds: Schema[]): string | null {
  const [first] = kinds;
  const names = Object.keys(first?.properties ?? {});
  return names.find((name) => kinds.every((one) => one.properties?.[name]?.const !== undefined || one.properties?.[name]?.enum?.length === 1)) ?? null;
}

export function constant(kind: Schema, name: string): string {
  const property = kind.properties?.[name];
  return String(property?.const ?? property?.enum?.[0] ?? "");
}

/** `crf`, `max_width_pct` → `CRF`, `Max width, %`: what people read. */
export function label(name: string): string {
  const units: Record<string, string> = { s: "s", pct: "%", kbps: "kbit/s", lufs: "LUFS", mb: "MB", px: "px", hz: "Hz", db: "dB" };
  const words = name.split("_");
  const unit = words.length > 1 ? units[words.at(-1) ?? ""] : undefined;
  const text = (unit ? words.slice(0, -1) : words).join(" ");
  const said = ["crf", "gop", "fps", "hls", "id", "url"].includes(text.split(" ")[0] ?? "") ? text.replace(/^\w+/, (word) => word.toUpperCase()) : text.charAt(0).toUpperCase() + text.slice(1);
  return unit ? `${said}, ${unit}` : said;
}

/** A value without what is empty: the server fills in its own defaults. */
export function without(value: Value, name: string): Value {
  const { [name]: _, ...rest } = value;
  return rest;
}

/** A parameter's description as people read it: an empty field is what the API calls null. */
export const said = (description: string | undefined): string | undefined =>
  description?.replace(/\bnull\b/g, "empty").replace(/\b[a-z]+(?:_[a-z0-9]+)+\b/g, (name) => `“${label(name).replace(/,.*/, "")}”`);
