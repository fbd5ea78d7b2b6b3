/** A film's element as state, and the few things that keys and buttons do to it. */
import { useCallback, useEffect, useMemo, useRef, useState } from "react";

const RATES = [0.25, 0.5, 1, 1.5, 2, 4];

export function useFilm(frame: number) {
  const film = useRef<HTMLVideoElement>(null);
  // A player may come later than its page: what listens follows the element, not the page.
  const [element, setElement] = useState<HTMLVideoElement | null>(null);
  const attach = useCallback((one: HTMLVideoElement | null) => {
    film.current = one;
    setElement(one);
  }, []);
  const [position, setPosition] = useState(0);
  const [playing, setPlaying] = useState(false);
  const [rate, setRate] = useState(1);
  /** Play until here, of a clip that is looked at. */
  const until = useRef<number | null>(null);

  useEffect(() => {
    const one = element;
    if (!one) return;
    let looking = 0;
    const look = () => {
      setPosition(one.currentTime);
      if (until.current !== null && one.currentTime >= until.current) {
        one.pause();
        until.current = null;
      }
      if (!one.paused) looking = requestAnimationFrame(look);
    };
    const on: Record<string, () => void> = {
      play: () => {
        setPlaying(true);
        cancelAnimationFrame(looking);
        look();
      },
      pause: () => setPlaying(false),
      seeked: look,
      timeupdate: () => setPosition(one.currentTime),
      ratechange: () => setRate(one.playbackRate),
    };
    for (const [name, listener] of Object.entries(on)) one.addEventListener(name, listener);
    return () => {
      cancelAnimationFrame(looking);
      for (const [name, listener] of Object.entries(on)) one.removeEventListener(name, listener);
    };
  }, [element]);

  const seek = useCallback((seconds: number) => {
    const one = film.current;
    if (!one) return;
    const last = Number.isFinite(one.duration) ? Math.max(0, one.duration - 0.001) : seconds;
    one.currentTime = Math.min(last, Math.max(0, seconds));
    setPosition(one.currentTime);
  }, []);

  return useMemo(() => {
    const play = () => void film.current?.play().catch(() => undefined);
    return {
      attach,
      element,
      position,
      playing,
      rate,
      seek,
      toggle: () => {
        until.current = null;
        if (film.current?.paused) play();
        else film.current?.pause();
      },
      playSpan: (start: number, end: number) => {
        seek(start);
        until.current = end;
        play();
      },
      step: (frames: number) => {
        film.current?.pause();
        seek((film.current?.currentTime ?? 0) + frames * frame);
      },
      faster: (by: 1 | -1) => {
        const one = film.current;
        if (!one) return;
        const now = RATES.indexOf(one.playbackRate);
        one.playbackRate = RATES[Math.min(RATES.length - 1, Math.max(0, (now < 0 ? 2 : now) + by))] ?? 1;
      },
    };
  }, [attach, element, position, playing, rate, seek, frame]);
}

export type FilmControl = ReturnType<typeof useFilm>;
