/** Any pipeline on a video, by the form that its schema gives. */
import { Button, Select } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { Play } from "lucide-react";
import { useState } from "react";
import { api, body } from "../api/client";
import { soon } from "../api/live";
import { pipelinesQuery, videoQuery } from "../api/queries";
import { useKeys } from "../lib/keys";
import { ErrorCard } from "../ui/ErrorCard";
import { Page, Skeleton } from "../ui/Page";
import { PipelineForm } from "../ui/PipelineForm";

export function RunPage() {
  const { id } = useParams({ from: "/frame/videos/$id/run" });
  const search = useSearch({ from: "/frame/videos/$id/run" });
  const navigate = useNavigate();
  const pipelines = useQuery(pipelinesQuery);
  const video = useQuery(videoQuery(id));
  const items = (pipelines.data?.items ?? []).filter((one) => one.name !== "generate"); // it makes videos, of none
  const known = items.find((one) => one.name === search.pipeline) ?? items[0];
  const [params, setParams] = useState<Record<string, unknown>>({});
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  const run = async () => {
    if (!known) return;
    setBusy(true);
    setError(null);
    try {
      const job = await body(api.POST("/api/v1/jobs", { body: { video_id: id, pipeline: known.name, params, priority: 0, reuse: true } }));
      soon(["jobs"], ["videos"], ["video", id]);
      if ("job_id" in job && typeof job.job_id === "string") await navigate({ to: "/jobs/$id", params: { id: job.job_id } });
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  useKeys([{ keys: "mod+enter", label: "Run the pipeline", group: "Run", whileTyping: true, run: () => void run() }]);

  return (
    <Page title="Run a pipeline" lead={video.data ? `On ${video.data.filename}` : undefined} narrow>
      {pipelines.isError && <ErrorCard error={pipelines.error} onRetry={() => void pipelines.refetch()} />}
      {video.isError && <ErrorCard error={video.error} onRetry={() => void video.refetch()} />}
      {pipelines.isPending && <Skeleton height={320} what="the pipelines" />}
      {known && (
        <>
          <Select
            label="Pipeline"
            description={(known.params as { description?: string }).description}
            data={items.map((one) => ({ value: one.name, label: one.title }))}
            value={known.name}
            mb="lg"
            maw={420}
            onChange={(name) => {
              setParams({});
              setError(null);
              void navigate({ to: "/videos/$id/run", params: { id }, search: { pipeline: name ?? undefined }, replace: true });
            }}
          />
          <PipelineForm key={known.name} schema={known.params} value={params} onChange={setParams} error={error} />
          {error != null && (
            <div style={{ marginBlockStart: 16 }}>
              <ErrorCard error={error} />
            </div>
          )}
          <Button mt="lg" leftSection={<Play size={15} aria-hidden />} loading={busy} onClick={() => void run()}>
            Run
          </Button>
        </>
      )}
    </Page>
  );
}
