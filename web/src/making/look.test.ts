import { beforeEach, describe, expect, it } from "vitest";
import { contrastOf, freeName, keepLook, keepView, readLook, readView, safeOf, VIEW } from "./look";

describe("a brand", () => {
  beforeEach(() => localStorage.clear());
  it("gets a name that is free", () => {
    expect(freeName("boxed", ["boxed"])).toBe("boxed 2");
    expect(freeName("boxed", ["boxed 2", "boxed 3"])).toBe("boxed 4");
  });
  it("is kept for what is edited, and for nothing else", () => {
    keepLook({ edit: "new", name: "acme", style: { color: "#FFFFFF" } });
    expect(readLook("new")?.name).toBe("acme");
    expect(readLook("8b0c7f0e")).toBeNull();
    keepLook(null);
    expect(readLook("new")).toBeNull();
  });
  it("is looked at as it was the last time", () => {
    expect(readView()).toEqual(VIEW);
    keepView({ ...VIEW, text: "Hello", safe: true });
    expect(readView()).toEqual({ ...VIEW, text: "Hello", safe: true });
  });
});

describe("a preview's report", () => {
  it("tells the safe area only when it is there as a whole", () => {
    expect(safeOf({ safe: { left: 0.05, top: 0.1, right: 0, bottom: 0.2 } })).toEqual({ left: 0.05, top: 0.1, right: 0, bottom: 0.2 });
    expect(safeOf({ safe: { left: 0.05 } })).toBeNull();
    expect(safeOf(null)).toBeNull();
  });
  it("tells contrast in words", () => {
    expect(contrastOf({ contrast: 7.25, added: null })).toEqual({ words: "Contrast 7.3 : 1", good: true });
    expect(contrastOf({ contrast: 3, added: "box" })).toEqual({ words: "Contrast 3.0 : 1, with an added box", good: false });
    expect(contrastOf({ contrast: null })).toBeNull();
  });
});
