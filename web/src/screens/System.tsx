/** `reelmill doctor` in the browser: what works, what doesn't, and how to mend it; and who does the work. */
import { Button } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { RefreshCw } from "lucide-react";
import { api, body } from "../api/client";
import { client, systemQuery, workersQuery } from "../api/queries";
import { ago, bytes, exactly } from "../lib/time";
import { ErrorCard } from "../ui/ErrorCard";
import { Page, Skeleton } from "../ui/Page";
import { failed } from "../ui/toast";
import { Findings } from "./system/Findings";
import classes from "./System.module.css";

export function SystemPage() {
  const system = useQuery(systemQuery);
  const usage = useQuery({ queryKey: ["usage"], queryFn: () => body(api.GET("/api/v1/usage")) });
  const workers = useQuery({ ...workersQuery, refetchInterval: 10_000 });
  const again = useMutation({
    mutationFn: () => body(api.GET("/api/v1/system", { params: { query: { fresh: true } } })),
    onSuccess: (report) => client.setQueryData(systemQuery.queryKey, report),
    onError: (error) => failed(error),
  });
  const report = system.data;
  const bad = report?.findings.filter((one) => one.level === "failed").length ?? 0;
  const warnings = report?.findings.filter((one) => one.level === "warning").length ?? 0;
  const verdict = bad ? `${bad} ${bad === 1 ? "check" : "checks"} failed` : warnings ? `All works, ${warnings} ${warnings === 1 ? "warning" : "warnings"}` : "All works";

  return (
    <Page
      title="System"
      lead={report ? <>{verdict} · Reelmill {report.version} · looked at <time dateTime={report.checked_at} title={exactly(report.checked_at)}>{ago(report.checked_at)}</time></> : undefined}
      actions={
        <Button variant="default" leftSection={<RefreshCw size={15} aria-hidden />} loading={again.isPending} onClick={() => again.mutate()}>
          Look again
        </Button>
      }
    >
      <div className={classes.figures}>
        <Figure label="Sources" value={usage.data ? bytes(usage.data.source_bytes) : "…"} />
        <Figure label="Results" value={usage.data ? bytes(usage.data.output_bytes) : "…"} />
        <Figure label="Jobs in flight" value={usage.data ? String(usage.data.jobs_in_flight) : "…"} />
        <Figure label="Workers" value={workers.data ? String(workers.data.items.filter((one) => one.state !== "lost").length) : "…"} />
      </div>

      <section className={classes.section}>
        <h2 className={classes.heading}>Installation</h2>
        {system.isError && <ErrorCard error={system.error} onRetry={() => void system.refetch()} />}
        {system.isPending && (
          <>
            <p className="rm-dim">Trying storage, database, ffmpeg and the rest: some seconds.</p>
            <Skeleton height={520} what="the checks" />
          </>
        )}
        {report && <Findings findings={report.findings} />}
      </section>

      <section className={classes.section}>
        <h2 className={classes.heading}>Workers</h2>
        {workers.isError && <ErrorCard error={workers.error} onRetry={() => void workers.refetch()} />}
        {workers.isPending && <Skeleton height={90} what="the workers" />}
        {workers.data && (
          <ul className={classes.workers}>
            {workers.data.items.map((one) => (
              <li key={one.id} className={classes.worker} data-state={one.state}>
                <strong>
                  {one.host} <span className="rm-dim rm-num">#{one.pid}</span>
                </strong>
                <span className={classes.state} data-state={one.state}>
                  {one.state === "working" ? "Working" : one.state === "draining" ? "Draining" : "Lost"}
                </span>
                <span className="rm-dim rm-num">
                  {one.slots} {one.slots === 1 ? "step" : "steps"} at a time · {one.queues.length ? one.queues.join(", ") : "all queues"} · {one.version} · seen {ago(one.seen_at)}
                </span>
              </li>
            ))}
            {workers.data.items.length === 0 && <li className="rm-dim">No process does steps: start `reelmill worker`, or serve with workers.</li>}
          </ul>
        )}
      </section>
    </Page>
  );
}

function Figure({ label, value }: { label: string; value: string }) {
  return (
    <dl className={classes.figure}>
      <dt>{label}</dt>
      <dd className="rm-num">{value}</dd>
    </dl>
  );
}
