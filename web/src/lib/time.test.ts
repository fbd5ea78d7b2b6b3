import { describe, expect, it } from "vitest";
import { ago, bytes, parseTimecode, roughly, spoken, timecode } from "./time";

describe("time codes", () => {
  it("are written as players write them", () => {
    expect(timecode(0)).toBe("0:00");
    expect(timecode(243)).toBe("4:03");
    expect(timecode(3843.5, 1)).toBe("1:04:03.5");
    expect(timecode(59.9996, 3)).toBe("1:00.000");
    expect(timecode(-1)).toBe("0:00");
  });
  it("are read in the forms people type", () => {
    expect(parseTimecode("4:03")).toBe(243);
    expect(parseTimecode("1:04:03.5")).toBe(3843.5);
    expect(parseTimecode("90")).toBe(90);
    expect(parseTimecode(" 1m30s ")).toBe(90);
    expect(parseTimecode("1h 2m")).toBe(3720);
    expect(parseTimecode("1,5")).toBe(1.5);
    for (const wrong of ["", "abc", "1:99", "1:75:00", "-4"]) expect(parseTimecode(wrong)).toBeNull();
  });
  it("read back what was written", () => {
    for (const s of [0, 0.04, 1, 59.96, 60, 3599.88, 3600, 86_399.99]) expect(parseTimecode(timecode(s, 3))).toBeCloseTo(s, 3);
  });
  it("are spoken for screen readers", () => {
    expect(spoken(243)).toBe("4 minutes 3 seconds");
    expect(spoken(3601)).toBe("1 hour 1 second");
    expect(spoken(0)).toBe("0 seconds");
  });
});

describe("figures", () => {
  it("are short", () => {
    expect(bytes(0)).toBe("0 B");
    expect(bytes(812_345)).toBe("812 kB");
    expect(bytes(3_400_000)).toBe("3.4 MB");
    expect(bytes(999_999)).toBe("1.0 MB");
    expect(roughly(0.2)).toBe("1 s");
    expect(roughly(3900)).toBe("1 h 5 min");
    const now = Date.parse("2026-11-21T12:00:00Z");
    expect(ago("2026-11-21T11:59:50Z", now)).toBe("just now");
    expect(ago("2026-11-21T11:55:00Z", now)).toBe("5 min ago");
    expect(ago("2026-11-20T11:00:00Z", now)).toBe("yesterday");
  });
});
