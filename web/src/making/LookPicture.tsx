/** A look on a real frame: the server's picture, or a sketch while there is no film. */
import classes from "../clips/Clips.module.css";
import type { Params } from "../clips/draft";
import { Sketch } from "../clips/StylePanel";
import { DrawnPicture } from "./Drawn";
import { safeOf, VIEW, type View } from "./look";
import own from "./Making.module.css";
import { type LookAsked, lookQuery } from "./queries";

export interface Film {
  id: string;
  duration: number;
  aspect: number;
}

const SHAPES: Record<string, number> = { "16:9": 16 / 9, "9:16": 9 / 16, "1:1": 1, "4:5": 4 / 5 };

interface Props {
  name: string;
  /** What the server is asked to draw. */
  style: Params;
  /** All its values, for a sketch. */
  values: Params;
  film: Film | null;
  view: View;
  small?: boolean;
}

/** What the server is asked for. */
export function askedOf(style: Params, film: Film, view: View): LookAsked {
  return {
    video_id: film.id,
    text: view.text.trim() || VIEW.text,
    style,
    video: view.aspect === "source" ? {} : { aspect: view.aspect },
    at_s: Math.round(Math.min(view.at ?? film.duration / 3, Math.max(0, film.duration - 0.1)) * 100) / 100,
  };
}

export function LookPicture({ name, style, values, film, view, small = false }: Props) {
  const text = view.text.trim() || VIEW.text;
  const aspect = SHAPES[view.aspect] ?? film?.aspect ?? 16 / 9;
  if (!film) {
    return (
      <div className={`${classes.sketch} ${own.sketch}`} style={{ aspectRatio: aspect }}>
        <Sketch text={text} look={values} />
      </div>
    );
  }
  return (
    <DrawnPicture query={lookQuery(askedOf(style, film, view))} alt={`${text}, in the look ${name}`} aspect={aspect} small={small}>
      {(report) => {
        const safe = view.safe ? safeOf(report) : null;
        return safe && <span className={own.safe} data-safe aria-hidden style={{ inset: `${safe.top * 100}% ${safe.right * 100}% ${safe.bottom * 100}% ${safe.left * 100}%` }} />;
      }}
    </DrawnPicture>
  );
}
