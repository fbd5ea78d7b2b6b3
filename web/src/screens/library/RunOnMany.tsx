/** One pipeline with the same parameters on several videos: one job each. */
import { Button, Modal } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body, type Video } from "../../api/client";
import { soon } from "../../api/live";
import { pipelinesQuery } from "../../api/queries";
import { ErrorCard } from "../../ui/ErrorCard";
import { PipelineForm } from "../../ui/PipelineForm";
import { done } from "../../ui/toast";

interface Props {
  pipeline: string;
  videos: Video[];
  onClose: () => void;
  onDone: () => void;
}

export default function RunOnMany({ pipeline, videos, onClose, onDone }: Props) {
  const { data } = useQuery(pipelinesQuery);
  const known = data?.items.find((one) => one.name === pipeline);
  const [params, setParams] = useState<Record<string, unknown>>({});
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  const run = async () => {
    setBusy(true);
    setError(null);
    try {
      for (const video of videos) await body(api.POST("/api/v1/jobs", { body: { video_id: video.id, pipeline, params, priority: 0, reuse: true } }));
      done(`${videos.length} ${videos.length === 1 ? "job was" : "jobs were"} queued.`);
      onDone();
      onClose();
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
      soon(["jobs"], ["videos"]);
    }
  };
  return (
    <Modal opened onClose={onClose} size="lg" title={`${known?.title ?? pipeline}: ${videos.length} ${videos.length === 1 ? "video" : "videos"}`}>
      {known && <PipelineForm schema={known.params} value={params} onChange={setParams} error={error} />}
      {error != null && <ErrorCard error={error} compact />}
      <Button mt="md" fullWidth loading={busy} onClick={() => void run()}>
        Run on {videos.length} {videos.length === 1 ? "video" : "videos"}
      </Button>
    </Modal>
  );
}
