import { Page } from "../ui/Page";

export function VideoPage() {
  return <Page title="Video">{null}</Page>;
}
