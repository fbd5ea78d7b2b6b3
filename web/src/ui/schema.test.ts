import { describe, expect, it } from "vitest";
import { alternatives, label, resolved, said, type Schema, tag } from "./schema";

const root: Schema = {
  $defs: {
    Fixed: { type: "object", properties: { mode: { const: "fixed" }, duration_s: { type: "number" } } },
    Random: { type: "object", properties: { mode: { const: "random" }, seed: { type: "integer" } } },
  },
  properties: { cutting: { oneOf: [{ $ref: "#/$defs/Fixed" }, { $ref: "#/$defs/Random" }, { type: "null" }] } },
};

describe("a pipeline's schema", () => {
  it("gives its alternatives, and what tells them apart", () => {
    const { kinds, nullable } = alternatives(root.properties?.cutting ?? {}, root);
    expect(kinds).toHaveLength(2);
    expect(nullable).toBe(true);
    expect(tag(kinds)).toBe("mode");
    const nested = { anyOf: [{ oneOf: [{ $ref: "#/$defs/Fixed" }, { $ref: "#/$defs/Random" }] }, { type: "null" }] };
    expect(alternatives(nested, root)).toMatchObject({ nullable: true, kinds: [{ type: "object" }, { type: "object" }] });
  });
  it("follows references, and keeps what stands beside them", () => {
    expect(resolved({ $ref: "#/$defs/Fixed", title: "Cut" }, root).title).toBe("Cut");
    expect(resolved({ allOf: [{ $ref: "#/$defs/Random" }] }, root).properties?.seed?.type).toBe("integer");
  });
  it("has names that people read", () => {
    expect(label("max_width_pct")).toBe("Max width, %");
    expect(label("crf")).toBe("CRF");
    expect(label("duration_s")).toBe("Duration, s");
    expect(label("frame_rate")).toBe("Frame rate");
    expect(said("Shorter ones are dropped; null: than duration_s.")).toBe("Shorter ones are dropped; empty: than “Duration”.");
  });
});
