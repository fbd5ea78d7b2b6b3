import { describe, expect, it } from "vitest";
import { Meter, partSize, parts, pause, split } from "./plan";

describe("parts of a file", () => {
  it("cover it without gap or overlap, whatever its size", () => {
    for (const [size, partSize] of [[1, 5], [5, 5], [6, 5], [1000, 7], [12_345_678, 8 << 20], [123_456_789, 8 << 20]] as const) {
      const all = parts(size, partSize);
      let end = 0;
      for (const [n, part] of all.entries()) {
        expect(part.number).toBe(n + 1);
        expect(part.start).toBe(end);
        expect(part.size).toBeGreaterThan(0);
        end += part.size;
      }
      expect(end).toBe(size);
    }
  });
  it("that have arrived are told from those that are missing or half", () => {
    const all = parts(23, 5);
    const { there, missing } = split(all, [
      { number: 1, size: 5, sha256: "a" },
      { number: 3, size: 4, sha256: null },
      { number: 5, size: 3, sha256: "b" },
      { number: 9, size: 5, sha256: "c" },
    ]);
    expect(there.map(([part]) => part.number)).toEqual([1, 5]);
    expect(missing.map((part) => part.number)).toEqual([2, 3, 4]);
  });
});

it("parts are small, but never too many", () => {
  expect(partSize(40 << 20)).toBe(8 << 20);
  for (const size of [1e9, 2e10, 5e11, 5e12]) expect(Math.ceil(size / partSize(size))).toBeLessThanOrEqual(2000);
});

describe("the meter", () => {
  it("tells the speed of the last seconds", () => {
    const meter = new Meter();
    expect(meter.rate(0)).toBeNull();
    for (let t = 0; t <= 10; t++) meter.note(t * 1000, t * 1000);
    expect(meter.rate(10_000)).toBeCloseTo(1000);
    expect(meter.rate(14_000)).toBeLessThan(1000);
  });
  it("begins anew when a connection has broken", () => {
    const meter = new Meter();
    meter.note(0, 0);
    meter.note(9000, 3000);
    meter.note(1000, 4000);
    expect(meter.rate(4100)).toBeNull();
  });
});

it("pauses grow, are spread, and have an end", () => {
  expect(pause(0, () => 1)).toBe(600);
  expect(pause(3, () => 1)).toBe(4100);
  expect(pause(30, () => 1)).toBe(20_100);
  expect(pause(30, () => 0)).toBe(100);
});
