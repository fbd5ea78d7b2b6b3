/** What is done with videos, with its undoing. */
import type { InfiniteData } from "@tanstack/react-query";
import { api, body, type Schemas, type Video } from "../../api/client";
import { soon } from "../../api/live";
import { client } from "../../api/queries";
import { failed, undoable } from "../../ui/toast";

type Pages = InfiniteData<Schemas["VideoPage"]>;

/** Delete videos: off the list at once, and for ten seconds one click brings them back. */
export function deleteVideos(videos: Video[]): void {
  const ids = new Set(videos.map((one) => one.id));
  client.setQueriesData<Pages>({ queryKey: ["videos"] }, (data) => data && { ...data, pages: data.pages.map((page) => ({ ...page, items: page.items.filter((one) => !ids.has(one.id)) })) });
  const each = (act: (id: string) => Promise<unknown>, what: string) =>
    Promise.all([...ids].map(act))
      .catch((error: unknown) => failed(error, what))
      .finally(() => soon(["videos"], ["jobs"]));
  const deleted = each((id) => body(api.DELETE("/api/v1/videos/{video_id}", { params: { path: { video_id: id } } })), "Not all could be deleted.");
  undoable(videos.length === 1 ? `${videos[0]?.filename} was deleted.` : `${videos.length} videos were deleted.`, () => {
    void deleted.then(() => each((id) => body(api.POST("/api/v1/videos/{video_id}/restore", { params: { path: { video_id: id } } })), "Not all could be brought back."));
  });
}
