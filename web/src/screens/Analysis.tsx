import { Page } from "../ui/Page";

export function AnalysisPage() {
  return <Page title="Analysis">{null}</Page>;
}
