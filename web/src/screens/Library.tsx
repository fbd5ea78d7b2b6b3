import { Page } from "../ui/Page";

export function Library() {
  return <Page title="Library">{null}</Page>;
}
