/** The clips as a list: when, how long, and what is written on each. Only what is in sight is drawn. */
import { ActionIcon, Textarea, Tooltip } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { Lock, LockOpen, Play, RefreshCw, Trash2 } from "lucide-react";
import { memo, useEffect, useRef, useState } from "react";
import { timecode } from "../lib/time";
import { failed } from "../ui/toast";
import classes from "./Clips.module.css";
import { type Draft, type Planned, pastedLines, putLines } from "./draft";
import { vary } from "./TextPanel";
import { TimeField } from "./TimeField";

interface Props {
  clips: Planned[];
  draft: Draft;
  selected: number;
  onSelect: (index: number) => void;
  change: (make: (draft: Draft) => Draft, kind?: string) => void;
  onEdge: (index: number, edge: "start" | "end", seconds: number) => void;
  onRemove: (index: number) => void;
  onPlay: (index: number) => void;
}

const FIRST = 60;

export function ClipTable({ clips, draft, selected, onSelect, change, onEdge, onRemove, onPlay }: Props) {
  const [shown, setShown] = useState(FIRST);
  useEffect(() => setShown((now) => Math.max(now, Math.min(clips.length, selected + 20))), [selected, clips.length]);
  const writes = draft.strategy === "own" || draft.strategy === "vary";
  return (
    <section className={classes.table} aria-label="List of clips">
      <ol>
        {clips.slice(0, shown).map((clip, n) => (
          <Row
            key={`${n}`}
            n={n}
            clip={clip}
            line={draft.lines[n]}
            writes={writes}
            varies={draft.strategy === "vary"}
            base={draft.base}
            marked={draft.kind === "manual"}
            isSelected={n === selected}
            {...{ onSelect, change, onEdge, onRemove, onPlay }}
          />
        ))}
      </ol>
      {shown < clips.length && (
        <button type="button" className={classes.more} onClick={() => setShown(shown + 200)}>
          Show {Math.min(200, clips.length - shown)} more of {clips.length}
        </button>
      )}
    </section>
  );
}

interface RowProps extends Pick<Props, "onSelect" | "change" | "onEdge" | "onRemove" | "onPlay"> {
  n: number;
  clip: Planned;
  line?: { text: string; locked?: boolean; source?: string };
  writes: boolean;
  varies: boolean;
  base: string;
  marked: boolean;
  isSelected: boolean;
}

const Row = memo(function Row({ n, clip, line, writes, varies, base, marked, isSelected, onSelect, change, onEdge, onRemove, onPlay }: RowProps) {
  const row = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (isSelected && row.current) {
      const box = row.current.parentElement;
      if (box && box.scrollHeight > box.clientHeight) {
        const [top, height] = [row.current.offsetTop - box.offsetTop, row.current.offsetHeight];
        if (top < box.scrollTop) box.scrollTop = top;
        else if (top + height > box.scrollTop + box.clientHeight) box.scrollTop = top + height - box.clientHeight;
      }
    }
  }, [isSelected]);
  const put = (make: (now: { text: string; locked?: boolean; source?: string }) => { text: string; locked?: boolean; source?: string }, kind = "") =>
    change((now) => {
      const lines = Array.from({ length: Math.max(now.lines.length, n + 1) }, (_, k) => now.lines[k] ?? { text: "" });
      lines[n] = make(lines[n] ?? { text: "" });
      return { ...now, lines };
    }, kind);
  const again = useMutation({
    mutationFn: () => vary({ text: base, n: 1, seconds: clip.end_s - clip.start_s, variant: Math.floor(Math.random() * 1e9) }),
    onSuccess: ([one]) => one && put(() => one),
    onError: (error) => failed(error),
  });
  return (
    <li ref={row} className={classes.clipRow} data-selected={isSelected || undefined} onFocusCapture={() => !isSelected && onSelect(n)}>
      <button type="button" className={classes.number} onClick={() => onPlay(n)} aria-label={`Play clip ${n + 1}`}>
        <span>{n + 1}</span>
        <Play size={13} aria-hidden />
      </button>
      <div className={classes.when}>
        {marked ? (
          <>
            <TimeField label={`Start of clip ${n + 1}`} value={clip.start_s} onChange={(to) => onEdge(n, "start", to)} />
            <TimeField label={`End of clip ${n + 1}`} value={clip.end_s} onChange={(to) => onEdge(n, "end", to)} />
          </>
        ) : (
          <button type="button" className={classes.span} onClick={() => onSelect(n)}>
            <span className="rm-num">{timecode(clip.start_s, 2)}</span>
            <span aria-hidden>–</span>
            <span className="rm-num">{timecode(clip.end_s, 2)}</span>
          </button>
        )}
        <span className={classes.length}>{(clip.end_s - clip.start_s).toFixed(2)} s</span>
      </div>
      {writes && (
        <Textarea
          aria-label={`Text of clip ${n + 1}`}
          placeholder="No text"
          size="xs"
          minRows={1}
          maxRows={4}
          data-text={n}
          className={classes.text}
          value={line?.text ?? ""}
          maxLength={5000}
          onChange={(event) => {
            const text = event.currentTarget.value;
            put((now) => ({ text, locked: now.locked }), `line-${n}`);
          }}
          onPaste={(event) => {
            const rows = pastedLines(event.clipboardData.getData("text"));
            if (rows.length < 2) return;
            event.preventDefault();
            change((now) => ({ ...now, lines: putLines(now.lines, n, rows) }));
          }}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.nativeEvent.isComposing) return;
            event.preventDefault();
            document.querySelector<HTMLTextAreaElement>(`[data-text="${n + 1}"]`)?.focus();
          }}
        />
      )}
      <div className={classes.rowActions}>
        {varies && (
          <>
            <Tooltip label="Make this one anew">
              <ActionIcon size={32} aria-label={`Vary the text of clip ${n + 1} again`} loading={again.isPending} disabled={line?.locked || !base.trim()} onClick={() => again.mutate()}>
                <RefreshCw size={15} />
              </ActionIcon>
            </Tooltip>
            <Tooltip label={line?.locked ? "Unlock" : "Lock: stays when others vary"}>
              <ActionIcon size={32} aria-label={`Lock the text of clip ${n + 1}`} aria-pressed={Boolean(line?.locked)} color={line?.locked ? "iris" : "gray"} onClick={() => put((now) => ({ ...now, locked: !now.locked }))}>
                {line?.locked ? <Lock size={15} /> : <LockOpen size={15} />}
              </ActionIcon>
            </Tooltip>
          </>
        )}
        {marked && (
          <Tooltip label="Remove (Del)">
            <ActionIcon size={32} aria-label={`Remove clip ${n + 1}`} onClick={() => onRemove(n)}>
              <Trash2 size={15} />
            </ActionIcon>
          </Tooltip>
        )}
      </div>
    </li>
  );
});
