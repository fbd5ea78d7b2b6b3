/** A video's picture; moving over it goes through the film. */
import { Link } from "@tanstack/react-router";
import { CloudUpload, Film } from "lucide-react";
import { type ReactNode, useState } from "react";
import { at, type Video } from "../../api/client";
import classes from "./Poster.module.css";

const TILES = 24;

export function Poster({ video, className, children }: { video: Video; className: string; children?: ReactNode }) {
  const [broken, setBroken] = useState(false);
  const [loaded, setLoaded] = useState(false);
  const [strip, setStrip] = useState(false);
  const [fraction, setFraction] = useState<number | null>(null);
  const there = video.upload_status === "uploaded" && !broken;
  const ratio = video.width && video.height ? video.width / video.height : 16 / 9;
  const tile = Math.min(TILES - 1, Math.floor((fraction ?? 0) * TILES));

  return (
    <Link
      to="/videos/$id"
      params={{ id: video.id }}
      className={`${classes.frame} ${className}`}
      tabIndex={-1}
      aria-hidden
      onPointerMove={(event) => {
        if (event.pointerType === "touch" || !there) return;
        const place = event.currentTarget.getBoundingClientRect();
        setFraction(Math.min(1, Math.max(0, (event.clientX - place.left) / place.width)));
      }}
      onPointerLeave={() => setFraction(null)}
    >
      {there ? (
        <>
          <img className={classes.picture} data-loaded={loaded || undefined} onLoad={() => setLoaded(true)} src={at(`/api/v1/videos/${video.id}/poster?width=480`)} alt="" loading="lazy" decoding="async" onError={() => setBroken(true)} />
          {fraction !== null && (
            <>
              <img hidden src={at(`/api/v1/videos/${video.id}/filmstrip?count=${TILES}&width=320`)} alt="" onLoad={() => setStrip(true)} />
              {strip && (
                <span
                  className={classes.tile}
                  style={{
                    aspectRatio: ratio,
                    [ratio >= 16 / 9 ? "width" : "height"]: "100%",
                    backgroundImage: `url("${at(`/api/v1/videos/${video.id}/filmstrip?count=${TILES}&width=320`)}")`,
                    backgroundSize: `${TILES * 100}% 100%`,
                    backgroundPositionX: `${(100 * tile) / (TILES - 1)}%`,
                  }}
                />
              )}
              <span className={classes.at} style={{ insetInlineStart: `${fraction * 100}%` }} />
            </>
          )}
        </>
      ) : (
        <span className={classes.none}>{video.upload_status === "awaiting" ? <CloudUpload size={28} /> : <Film size={28} />}</span>
      )}
      {children}
    </Link>
  );
}
