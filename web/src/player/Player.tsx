/** A film with controls: an adaptive stream where there is one, else a file. Fetched when a film is first shown. */
import { MediaControlBar, MediaController, MediaFullscreenButton, MediaMuteButton, MediaPipButton, MediaPlayButton, MediaPlaybackRateButton, MediaTimeDisplay, MediaTimeRange, MediaVolumeRange } from "media-chrome/react";
import { addTranslation } from "media-chrome/utils/i18n";
import { type RefCallback, useEffect, useState } from "react";
import classes from "./Player.module.css";

// What is read out has the words that are seen: "1x".
addTranslation("en", { "Playback rate {playbackRate}": "Playback rate {playbackRate}x" });

interface Props {
  /** The film's element, once it is there: what `attach` was given. */
  film: HTMLVideoElement | null;
  attach: RefCallback<HTMLVideoElement>;
  label: string;
  poster?: string;
  /** The adaptive playlist, if there is one. */
  hls?: string | null;
  src?: string;
  aspect: number;
  onBroken?: () => void;
}

export default function Player({ film, attach, label, poster, hls, src, aspect, onBroken }: Props) {
  const [streamed, setStreamed] = useState(true);
  useEffect(() => setStreamed(true), [hls]);
  const adaptive = streamed && hls ? hls : null;

  useEffect(() => {
    const element = film;
    if (!element || !adaptive) return;
    if (element.canPlayType("application/vnd.apple.mpegurl") && !("MediaSource" in window)) {
      element.src = adaptive;
      return;
    }
    let stop = () => undefined as void;
    let gone = false;
    void import("hls.js/light").then(({ default: Hls }) => {
      if (gone) return;
      if (!Hls.isSupported()) return setStreamed(false);
      const stream = new Hls({ capLevelToPlayerSize: true });
      stream.on(Hls.Events.ERROR, (_, problem) => problem.fatal && setStreamed(false));
      stream.loadSource(adaptive);
      stream.attachMedia(element);
      stop = () => stream.destroy();
    });
    return () => {
      gone = true;
      stop();
    };
  }, [adaptive, film]);

  return (
    <MediaController className={classes.player} style={{ aspectRatio: aspect }} noHotkeys aria-label={label}>
      {/* biome-ignore lint: sources have no captions */}
      <video slot="media" ref={attach} src={adaptive ? undefined : src} poster={poster} preload="metadata" playsInline onError={() => !adaptive && src && onBroken?.()} />
      <MediaControlBar className={classes.bar}>
        <MediaPlayButton />
        <MediaTimeDisplay showDuration noToggle />
        <MediaTimeRange />
        <MediaPlaybackRateButton />
        <MediaMuteButton />
        <MediaVolumeRange />
        <MediaPipButton />
        <MediaFullscreenButton />
      </MediaControlBar>
    </MediaController>
  );
}
