/** A function that is the same in every rendering and does what the newest one says: for lists that shan't be drawn anew. */
import { useCallback, useLayoutEffect, useRef } from "react";

export function useStable<A extends unknown[], R>(make: (...given: A) => R): (...given: A) => R {
  const newest = useRef(make);
  useLayoutEffect(() => {
    newest.current = make;
  });
  return useCallback((...given: A) => newest.current(...given), []);
}
