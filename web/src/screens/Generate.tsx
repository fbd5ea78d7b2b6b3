import { Page } from "../ui/Page";

export function GeneratePage() {
  return <Page title="Generate">{null}</Page>;
}
