/** Links by which anybody may watch a job's results, each with an end. */
import { ActionIcon, Button, CopyButton, Modal, Select, Tooltip } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Check, Copy, Link2Off } from "lucide-react";
import { useState } from "react";
import { api, body } from "../api/client";
import { exactly } from "../lib/time";
import { ErrorCard } from "../ui/ErrorCard";
import classes from "./Jobs.module.css";

export const LIVES = [
  { value: "3600", label: "an hour" },
  { value: "86400", label: "a day" },
  { value: "604800", label: "a week" },
  { value: "2592000", label: "30 days" },
  { value: "31536000", label: "a year" },
];

export function Share({ jobId, onClose }: { jobId: string; onClose: () => void }) {
  const cache = useQueryClient();
  const [life, setLife] = useState("604800");
  const path = { job_id: jobId };
  const shares = useQuery({ queryKey: ["shares", jobId], queryFn: ({ signal }) => body(api.GET("/api/v1/jobs/{job_id}/share", { signal, params: { path } })) });
  const refresh = () => cache.invalidateQueries({ queryKey: ["shares", jobId] });
  const make = useMutation({ mutationFn: () => body(api.POST("/api/v1/jobs/{job_id}/share", { params: { path }, body: { life_s: Number(life) } })), onSuccess: refresh });
  const revoke = useMutation({ mutationFn: (id: string) => body(api.DELETE("/api/v1/jobs/{job_id}/share/{share_id}", { params: { path: { ...path, share_id: id } } })), onSuccess: refresh });
  const open = (shares.data?.items ?? []).filter((one) => !one.revoked_at && Date.parse(one.expires_at) > Date.now());
  return (
    <Modal opened onClose={onClose} title="Share the results" size="lg">
      <p className="rm-dim" style={{ marginBlockStart: 0 }}>Anybody who has the link can watch and download, without a key, until it ends or you end it.</p>
      <div style={{ display: "flex", alignItems: "end", gap: 10 }}>
        <Select label="The link works for" data={LIVES} value={life} onChange={(one) => one && setLife(one)} style={{ flex: 1 }} />
        <Button loading={make.isPending} onClick={() => make.mutate()}>Make a link</Button>
      </div>
      {(make.error ?? revoke.error ?? shares.error) && <ErrorCard error={make.error ?? revoke.error ?? shares.error} compact />}
      {open.length > 0 && (
        <ul className={classes.grid} style={{ gridTemplateColumns: "1fr", marginBlockStart: 16 }} aria-label="Links">
          {open.map((one) => (
            <li key={one.id} className={classes.card}>
              <div className={classes.caption}>
                <div>
                  <b><a href={one.url} target="_blank" rel="noreferrer">{one.url}</a></b>
                  <small>until {exactly(one.expires_at)}</small>
                </div>
                <CopyButton value={one.url}>
                  {({ copied, copy }) => (
                    <Tooltip label={copied ? "Copied" : "Copy"}>
                      <ActionIcon onClick={copy} aria-label="Copy the link">{copied ? <Check size={16} /> : <Copy size={16} />}</ActionIcon>
                    </Tooltip>
                  )}
                </CopyButton>
                <Tooltip label="End it now">
                  <ActionIcon onClick={() => revoke.mutate(one.id)} aria-label="End the link now"><Link2Off size={16} /></ActionIcon>
                </Tooltip>
              </div>
            </li>
          ))}
        </ul>
      )}
    </Modal>
  );
}
