import { describe, expect, it } from "vitest";
import {
  clipAt, cuttingOf, EMPTY, equalMarks, firstDraft, frameLength, merge, moveEdge, pastedLines, putLines, snap, split, sums, textOf, tickEvery, tilesFor,
} from "./draft";
import { changed, type History, redone, undone } from "./history";

describe("cuts", () => {
  it("are sent as the pipeline wants them", () => {
    expect(cuttingOf({ ...EMPTY, cuttings: { fixed: { duration_s: 5 } } })).toEqual({ kind: "fixed", duration_s: 5 });
    expect(cuttingOf({ ...EMPTY, kind: "manual" })).toBeNull();
    expect(cuttingOf({ ...EMPTY, kind: "manual", marks: [{ start: 1, end: 2.5 }] })).toEqual({ kind: "manual", cuts: [{ start_s: 1, end_s: 2.5 }] });
  });

  it("split, join and stay in order", () => {
    const marks = [{ start: 0, end: 4 }, { start: 6, end: 8 }];
    expect(split(marks, 0, 1)).toEqual([{ start: 0, end: 1 }, { start: 1, end: 4 }, { start: 6, end: 8 }]);
    expect(split(marks, 0, 3.95)).toBeNull();
    expect(split(marks, 0, 5)).toBeNull();
    expect(merge(marks, 0)).toEqual([{ start: 0, end: 8 }]);
    expect(merge(marks, 1)).toBeNull();
  });

  it("have edges that never pass each other or leave the film", () => {
    const mark = { start: 2, end: 4 };
    expect(moveEdge(mark, "start", -1, 10).start).toBe(0);
    expect(moveEdge(mark, "start", 9, 10).start).toBeCloseTo(3.9);
    expect(moveEdge(mark, "end", 99, 10).end).toBe(10);
    expect(moveEdge(mark, "end", 0, 10).end).toBeCloseTo(2.1);
  });

  it("are found by time, the later of two that overlap", () => {
    const clips = [{ start_s: 0, end_s: 5 }, { start_s: 3, end_s: 6 }];
    expect([0, 3, 5.9, 6].map((at) => clipAt(clips, at))).toEqual([0, 1, 1, -1]);
  });

  it("of equal length fill the film", () => {
    const marks = equalMarks(10, 3);
    expect(marks).toHaveLength(3);
    expect(marks[0]?.start).toBe(0);
    expect(marks[2]?.end).toBe(10);
    expect(marks[0]?.end).toBe(marks[1]?.start);
  });

  it("begin with about six of a length that one would say", () => {
    expect(firstDraft(55).cuttings.fixed).toEqual({ duration_s: 10 });
    expect(firstDraft(3).cuttings.fixed).toEqual({ duration_s: 1 });
    expect(firstDraft(36_000).cuttings.fixed).toEqual({ duration_s: 600 });
  });
});

describe("texts", () => {
  it("are one for each clip, whatever was typed", () => {
    const draft = { ...EMPTY, strategy: "own" as const, lines: [{ text: "a" }, { text: " " }, { text: "c" }, { text: "too many" }] };
    expect(textOf(draft, 3)).toEqual({ strategy: "unique_for_all", texts: ["a", null, "c"] });
    expect(textOf(draft, 5)).toEqual({ strategy: "unique_for_all", texts: ["a", null, "c", "too many", null] });
    expect(textOf({ ...draft, lines: [] }, 3)).toBeNull();
    expect(textOf({ ...EMPTY, strategy: "same", same: "Hi", look: { position: "top" } }, 9)).toEqual({ strategy: "one_for_all", text: "Hi", position: "top" });
  });

  it("are pasted from a spreadsheet", () => {
    expect(pastedLines("one\ttwo\nthree\r\n")).toEqual(["one", "three"]);
    expect(pastedLines('"two\nlines"\tx\n"say ""hi"""')).toEqual(["two\nlines", 'say "hi"']);
    expect(pastedLines("a\n\nc")).toEqual(["a", "", "c"]);
    expect(pastedLines("")).toEqual([]);
  });

  it("go in from the row where they are pasted", () => {
    const lines = [{ text: "a", locked: true }, { text: "b" }];
    expect(putLines(lines, 1, ["x", "y"])).toEqual([{ text: "a", locked: true }, { text: "x" }, { text: "y" }]);
  });
});

describe("drawing", () => {
  it("snaps to what is near", () => {
    expect(snap(5.04, [4, 5, 6], 0.1)).toBe(5);
    expect(snap(5.2, [4, 5, 6], 0.1)).toBe(5.2);
  });

  it("has ticks that have room", () => {
    expect(tickEvery(60, 1000)).toBe(10);
    expect(tickEvery(7200, 1000)).toBe(900);
    expect((tickEvery(3, 900) / 3) * 900).toBeGreaterThanOrEqual(90);
  });

  it("takes as many pictures as fit", () => {
    expect(tilesFor(960, 54, 16 / 9)).toBe(10);
    expect(tilesFor(9600, 54, 16 / 9)).toBe(100);
    expect(tilesFor(100, 54, 16 / 9)).toBe(4);
  });

  it("knows a frame's length", () => {
    expect(frameLength("30000/1001")).toBeCloseTo(0.0333667);
    expect(frameLength("25")).toBe(0.04);
    expect(frameLength(null)).toBe(0.04);
  });

  it("sums up", () => {
    expect(sums([{ index: 0, start_s: 0, end_s: 2 }, { index: 1, start_s: 2, end_s: 5 }])).toEqual({ count: 2, seconds: 5, shortest: 2, longest: 3 });
  });
});

describe("undo", () => {
  it("takes quick changes of one kind as one step, and comes back", () => {
    let all: History<string> = { past: [], now: "", future: [], kind: "", at: 0 };
    all = changed(all, "a", "type", 1000);
    all = changed(all, "ab", "type", 1100);
    all = changed(all, "abc", "type", 5000);
    all = undone(all);
    expect(all.now).toBe("ab");
    all = undone(all);
    expect(all.now).toBe("");
    expect(undone(all)).toBe(all);
    expect(redone(redone(all)).now).toBe("abc");
  });
});
