/** A time code that is typed: `1:04.5`, `64.5`, `1m4s`. Enter or leaving takes it; nonsense is put back. */
import { TextInput } from "@mantine/core";
import { type CSSProperties, useEffect, useState } from "react";
import { parseTimecode, timecode } from "../lib/time";

interface Props {
  label: string;
  value: number;
  onChange: (seconds: number) => void;
  disabled?: boolean;
  style?: CSSProperties;
  showLabel?: boolean;
}

export function TimeField({ label, value, onChange, disabled, style, showLabel }: Props) {
  const shown = timecode(value, 3);
  const [text, setText] = useState(shown);
  useEffect(() => setText(shown), [shown]);
  const take = () => {
    const seconds = parseTimecode(text);
    if (seconds === null || Math.abs(seconds - value) < 0.0005) setText(shown);
    else onChange(seconds);
  };
  return (
    <TextInput
      label={showLabel ? label : undefined}
      aria-label={showLabel ? undefined : label}
      value={text}
      disabled={disabled}
      size="xs"
      inputMode="decimal"
      spellCheck={false}
      autoComplete="off"
      style={style}
      styles={{ input: { fontVariantNumeric: "tabular-nums" } }}
      onChange={(event) => setText(event.currentTarget.value)}
      onBlur={take}
      onKeyDown={(event) => {
        if (event.key === "Enter") take();
        if (event.key === "Escape") setText(shown);
      }}
    />
  );
}
