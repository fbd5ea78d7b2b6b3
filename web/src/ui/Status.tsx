/** How a video or a job stands, as a chip: a shape and a word, never colour alone. */
import { Ban, Check, CircleDashed, CloudUpload, LoaderCircle, TriangleAlert } from "lucide-react";
import classes from "./Status.module.css";

const LOOKS = {
  awaiting_upload: { tone: "dim", Icon: CloudUpload, word: "Awaiting upload" },
  awaiting: { tone: "dim", Icon: CloudUpload, word: "Awaiting upload" },
  pending: { tone: "dim", Icon: Check, word: "Uploaded" },
  uploaded: { tone: "dim", Icon: Check, word: "Uploaded" },
  queued: { tone: "warn", Icon: CircleDashed, word: "Queued" },
  processing: { tone: "accent", Icon: LoaderCircle, word: "Processing" },
  running: { tone: "accent", Icon: LoaderCircle, word: "Running" },
  completed: { tone: "good", Icon: Check, word: "Ready" },
  failed: { tone: "bad", Icon: TriangleAlert, word: "Failed" },
  rejected: { tone: "bad", Icon: TriangleAlert, word: "Rejected" },
  expired: { tone: "bad", Icon: TriangleAlert, word: "Upload expired" },
  cancelled: { tone: "dim", Icon: Ban, word: "Cancelled" },
  aborted: { tone: "dim", Icon: Ban, word: "Upload aborted" },
  gone: { tone: "dim", Icon: Ban, word: "Source removed" },
} as const;

export type Standing = keyof typeof LOOKS;

/** `word` replaces the usual one, as "Queued, 3rd". */
export function Status({ of, word, pct }: { of: Standing; word?: string; pct?: number | null }) {
  const { tone, Icon, word: usual } = LOOKS[of];
  return (
    <span className={classes.chip} data-tone={tone} data-status={of}>
      <Icon size={13} aria-hidden className={Icon === LoaderCircle ? classes.turning : undefined} />
      {word ?? usual}
      {pct != null && <span className="rm-num"> {Math.floor(pct)} %</span>}
    </span>
  );
}
