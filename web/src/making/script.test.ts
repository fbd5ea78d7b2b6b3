import { beforeEach, describe, expect, it } from "vitest";
import { EMPTY, faultsOf, filmKey, keepDraft, moved, NEW, newScenes, openScript, ownScenes, paramsOf, type Planned, readDraft, sceneKey } from "./script";

const planned: Planned[] = ["The lake", "Winter", "Again"].map((text, n) => ({
  text,
  narration: n === 1 ? "It is cold." : null,
  background: { kind: "gradient", colors: ["#000000", `#00000${n}`], angle: 20 },
  duration_s: null,
  text_position: "center",
  estimated_s: 2,
}));

describe("parameters", () => {
  it("are of what is chosen, and none while there are no words", () => {
    expect(paramsOf(EMPTY)).toBeNull();
    expect(paramsOf({ ...EMPTY, script: " \n" })).toBeNull();
    expect(paramsOf({ ...EMPTY, script: "Hi.", title: " Sale ", film: { aspect: "9:16" } })).toEqual({ script: "Hi.", title: "Sale", aspect: "9:16" });
    expect(paramsOf({ ...EMPTY, from: "topic", topic: "Lakes", script: "Hi." })).toEqual({ topic: "Lakes", topic_scenes: 5 });
    expect(paramsOf({ ...EMPTY, from: "scenes" })).toBeNull();
    expect(paramsOf({ ...EMPTY, from: "scenes", scenes: [{ ...NEW, text: " Hi " }] })).toEqual({
      scenes: [{ text: "Hi", narration: null, background: null, duration_s: null, text_position: "center" }],
    });
  });
});

describe("one scene changed", () => {
  it("is the only new one, and scenes that moved are not", () => {
    const made = { job: "1", film: filmKey({}), scenes: planned.map(sceneKey) };
    expect(newScenes(planned, {}, null)).toEqual([true, true, true]);
    expect(newScenes(planned, {}, made)).toEqual([false, false, false]);
    const own = ownScenes({ ...EMPTY, script: "x" }, planned);
    const edited = planned.map((one, n) => (n === 1 ? { ...one, narration: "It is warm." } : one));
    expect(newScenes(moved(edited, 0, 2), {}, made)).toEqual([true, false, false]);
    expect(newScenes(planned, { aspect: "1:1" }, made)).toEqual([true, true, true]);
    expect(newScenes(planned, { music: { video_id: "v" } }, made)).toEqual([false, false, false]);
    expect(own.map((one) => one.background)).toEqual(planned.map((one) => one.background));
  });
  it("keeps the backgrounds that the others were given", () => {
    const draft = { ...EMPTY, from: "scenes" as const, scenes: planned.map((one) => ({ ...NEW, text: one.text ?? "" })) };
    expect(ownScenes(draft, planned).map((one) => one.background)).toEqual(planned.map((one) => one.background));
    expect(ownScenes(draft, []).map((one) => one.background)).toEqual([null, null, null]);
  });
  it("is the only new one after a finished job's script was opened", () => {
    const { draft, made } = openScript({ title: "Lake", aspect: "9:16", music: null, topic_scenes: 5, scenes: planned.map(({ estimated_s: _, ...one }) => one) });
    expect(draft).toMatchObject({ from: "scenes", title: "Lake", film: { aspect: "9:16" } });
    expect(newScenes(planned, draft.film, { job: "1", ...made })).toEqual([false, false, false]);
  });
});

describe("the storyboard", () => {
  it("moves scenes within itself only", () => {
    expect(moved([1, 2, 3], 0, 1)).toEqual([2, 1, 3]);
    expect(moved([1, 2, 3], 2, 0)).toEqual([3, 1, 2]);
    expect(moved([1, 2, 3], 0, -1)).toEqual([1, 2, 3]);
    expect(moved([1, 2, 3], 2, 3)).toEqual([1, 2, 3]);
  });
  it("finds the scene of a fault", () => {
    const fields = ["scenes.1.duration_s", "scenes.12.background.at_s", "script", "params.voice"].map((field) => ({ field, message: "no" }));
    expect(faultsOf(null)).toEqual([]);
    expect(faultsOf({ what: "music.video_id: that video has no sound.", fields: [] })).toEqual([{ scene: null, field: "music.video_id", message: "that video has no sound." }]);
    expect(faultsOf({ what: "", fields }).map(({ scene, field }) => [scene, field])).toEqual([[1, "duration_s"], [12, "background"], [null, "script"], [null, "voice"]]);
  });
});

describe("the draft", () => {
  beforeEach(() => localStorage.clear());
  it("is there after a reload, and nonsense is no draft", () => {
    expect(readDraft()).toEqual({ draft: EMPTY, made: null });
    const draft = { ...EMPTY, from: "scenes" as const, scenes: [NEW] };
    keepDraft(draft, { job: "1", film: "", scenes: ["a"] });
    expect(readDraft()).toEqual({ draft, made: { job: "1", film: "", scenes: ["a"] } });
    localStorage.setItem("reelmill.draft.generate", "{");
    expect(readDraft().draft).toEqual(EMPTY);
  });
});
