/** What the checks of the installation saw, with the command that mends each fault. */
import { ActionIcon, CopyButton, Tooltip } from "@mantine/core";
import { Check, CircleAlert, Copy, Minus, TriangleAlert } from "lucide-react";
import type { Schemas } from "../../api/client";
import classes from "./Findings.module.css";

type Finding = Schemas["FindingReply"];

const MARKS = {
  ok: { Icon: Check, word: "In order" },
  warning: { Icon: TriangleAlert, word: "Warning" },
  failed: { Icon: CircleAlert, word: "Failed" },
  skipped: { Icon: Minus, word: "Not looked at" },
} as const;

export function Findings({ findings }: { findings: Finding[] }) {
  return (
    <ul className={classes.list}>
      {findings.map((one) => (
        <Line key={one.name} finding={one} />
      ))}
    </ul>
  );
}

function Line({ finding }: { finding: Finding }) {
  const { Icon, word } = MARKS[finding.level];
  return (
    <li className={classes.line} data-level={finding.level} data-part={finding.part_of ? true : undefined}>
      <span className={classes.mark}>
        <Icon size={15} aria-hidden />
        <span className="rm-hidden">{word}</span>
      </span>
      <div className={classes.title}>{finding.title}</div>
      <div className={classes.body}>
        <div>{finding.detail}</div>
        {finding.why && <div className={classes.why}>{finding.why}</div>}
        {finding.remedy && (
          <div className={classes.remedy}>
            <strong>What to do</strong> {finding.remedy}
          </div>
        )}
        {finding.fix && (
          <div className={classes.fix}>
            <code>{finding.fix}</code>
            <CopyButton value={finding.fix}>
              {({ copied, copy }) => (
                <Tooltip label={copied ? "Copied" : "Copy"}>
                  <ActionIcon size={28} onClick={copy} aria-label={`Copy the command that mends ${finding.title}`}>
                    {copied ? <Check size={15} /> : <Copy size={15} />}
                  </ActionIcon>
                </Tooltip>
              )}
            </CopyButton>
          </div>
        )}
      </div>
      <span className={`${classes.took} rm-num`}>{finding.took_s >= 0.01 ? `${finding.took_s.toFixed(2)} s` : ""}</span>
    </li>
  );
}
