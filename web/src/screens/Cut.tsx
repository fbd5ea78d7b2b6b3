import { Page } from "../ui/Page";

export function CutPage() {
  return <Page title="New clips">{null}</Page>;
}
