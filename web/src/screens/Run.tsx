import { Page } from "../ui/Page";

export function RunPage() {
  return <Page title="Run a pipeline">{null}</Page>;
}
