/** What is written on the clips: nothing, one text, one for each, or variations that a model or rules make. */
import { Button, SegmentedControl, Textarea } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";
import { ClipboardPaste, RefreshCw, WandSparkles } from "lucide-react";
import { useState } from "react";
import { api, body } from "../api/client";
import { ErrorCard } from "../ui/ErrorCard";
import { done } from "../ui/toast";
import classes from "./Clips.module.css";
import { type Draft, type Line, pastedLines, type Strategy } from "./draft";

export interface Wanted {
  text: string;
  n: number;
  seconds: number | null;
  variant: number;
}

/** Exactly n variations. Raises ApiError. */
export async function vary({ text, n, seconds, variant }: Wanted): Promise<Line[]> {
  const reply = await body(
    api.POST("/api/v1/texts/variations", { body: { text, n, seconds, variant, reading_cps: 20, max_chars: 200, made_by: "auto" } }),
  );
  return reply.texts.map((one) => ({ text: one.text, source: one.source }));
}

interface Props {
  draft: Draft;
  count: number;
  shortest: number;
  change: (make: (draft: Draft) => Draft, kind?: string) => void;
  /** Make so many clips of equal length. */
  onCount: (count: number) => void;
}

const CHOICES: { value: Strategy; label: string }[] = [
  { value: "none", label: "None" },
  { value: "same", label: "Same" },
  { value: "own", label: "Each its own" },
  { value: "vary", label: "Vary" },
];

export function TextPanel({ draft, count, shortest, change, onCount }: Props) {
  const [pasting, setPasting] = useState(false);
  const [pasted, setPasted] = useState("");
  const given = draft.lines.slice(0, count).filter((one) => one.text.trim()).length;
  const varying = useMutation({
    mutationFn: async () => {
      const open = Array.from({ length: count }, (_, n) => n).filter((n) => !draft.lines[n]?.locked);
      const made = await vary({ text: draft.base, n: Math.max(1, open.length), seconds: shortest > 0 ? shortest : null, variant: Math.floor(Math.random() * 1e9) });
      return { open, made };
    },
    onSuccess: ({ open, made }) => {
      change((now) => {
        const lines = Array.from({ length: Math.max(now.lines.length, count) }, (_, n) => now.lines[n] ?? { text: "" });
        open.forEach((n, k) => {
          const one = made[k];
          if (one) lines[n] = one;
        });
        return { ...now, lines };
      });
      done(`${open.length} ${open.length === 1 ? "text" : "texts"} made; edit any of them below.`);
    },
  });
  const takePasted = () => {
    const rows = pastedLines(pasted);
    change((now) => ({ ...now, strategy: "own", lines: rows.map((text) => ({ text })) }));
    setPasting(false);
    setPasted("");
    if (rows.length && rows.length !== count) onCount(rows.length);
  };

  return (
    <section className={classes.panel} aria-label="Texts">
      <h2>Texts</h2>
      <SegmentedControl
        fullWidth
        size="xs"
        aria-label="Which text each clip has"
        value={draft.strategy}
        data={CHOICES}
        onChange={(one) => change((now) => ({ ...now, strategy: one as Strategy }))}
      />
      {draft.strategy === "same" && (
        <Textarea
          label="Text of every clip"
          description="{index}, {total}, {start} and {name} are filled in for each."
          placeholder="Summer by the lake"
          value={draft.same}
          maxLength={5000}
          onChange={(event) => {
            const text = event.currentTarget.value;
            change((now) => ({ ...now, same: text }), "same");
          }}
        />
      )}
      {draft.strategy === "vary" && (
        <>
          <Textarea
            label="Text to vary"
            description="Each clip gets its own variation, which you can edit, lock or make anew."
            placeholder="Summer by the lake"
            value={draft.base}
            maxLength={2000}
            onChange={(event) => {
              const text = event.currentTarget.value;
              change((now) => ({ ...now, base: text }), "base");
            }}
          />
          <Button
            leftSection={given ? <RefreshCw size={15} /> : <WandSparkles size={15} />}
            variant={given ? "default" : "light"}
            disabled={!draft.base.trim() || count === 0}
            loading={varying.isPending}
            onClick={() => varying.mutate()}
          >
            {given ? "Vary again what isn't locked" : `Make ${count} ${count === 1 ? "variation" : "variations"}`}
          </Button>
          {varying.isPending && <p className={classes.lead} role="status">The texts are being written …</p>}
          {varying.error && <ErrorCard error={varying.error} compact onRetry={() => varying.mutate()} />}
        </>
      )}
      {draft.strategy === "own" && (
        <>
          <p className={classes.lead}>
            {given} of {count} clips have a text. Type below, or paste a column of a spreadsheet into any row.
          </p>
          {pasting ? (
            <>
              <Textarea
                label="One text a line"
                value={pasted}
                minRows={4}
                data-autofocus
                autoFocus
                onChange={(event) => setPasted(event.currentTarget.value)}
                description={pasted && pastedLines(pasted).length !== count ? `${pastedLines(pasted).length} texts: so many clips of equal length will be made.` : "As many lines as clips."}
              />
              <div className={classes.row}>
                <Button size="xs" onClick={takePasted} disabled={!pastedLines(pasted).length}>
                  Use them
                </Button>
                <Button size="xs" variant="subtle" color="gray" onClick={() => setPasting(false)}>
                  Never mind
                </Button>
              </div>
            </>
          ) : (
            <Button size="xs" variant="default" leftSection={<ClipboardPaste size={14} />} onClick={() => setPasting(true)}>
              Paste lines
            </Button>
          )}
        </>
      )}
    </section>
  );
}
