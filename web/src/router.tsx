/** Every page's address. Pages are fetched when they are first opened; the library comes with the frame. */
import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Outlet, redirect } from "@tanstack/react-router";
import { ApiError, BASE } from "./api/client";
import { client, type JobFilter, sessionQuery } from "./api/queries";
import { Frame } from "./shell/Frame";
import { NotFound, Trouble } from "./shell/Trouble";

const root = createRootRoute({ component: Outlet, notFoundComponent: NotFound, errorComponent: Trouble });

/** Who isn't signed in is sent to the sign-in, and comes back to where they wanted to be. */
const frame = createRoute({
  getParentRoute: () => root,
  id: "frame",
  component: Frame,
  beforeLoad: async ({ location }) => {
    try {
      await client.ensureQueryData(sessionQuery);
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) throw redirect({ to: "/sign-in", search: { to: location.href } });
      throw error;
    }
  },
});

// What looks like a number comes as one: `?q=7`.
const text = (value: unknown) => (["string", "number"].includes(typeof value) && value !== "" ? String(value) : undefined);
const oneOf =
  <T extends string>(...all: T[]) =>
  (value: unknown) =>
    all.find((one) => one === value);

const signIn = createRoute({
  getParentRoute: () => root,
  path: "/sign-in",
  component: lazyRouteComponent(() => import("./screens/SignIn"), "SignIn"),
  validateSearch: (search: Record<string, unknown>): { to?: string; problem?: string } => ({ to: text(search.to), problem: text(search.problem) }),
});

export interface LibrarySearch {
  q?: string;
  status?: "pending" | "processing" | "completed" | "failed";
  upload?: "awaiting" | "uploaded" | "rejected" | "expired" | "aborted" | "gone";
  label?: string[];
  view?: "list";
}

const library = createRoute({
  getParentRoute: () => frame,
  path: "/",
  component: lazyRouteComponent(() => import("./screens/Library"), "Library"),
  validateSearch: (search: Record<string, unknown>): LibrarySearch => ({
    q: text(search.q),
    status: oneOf("pending", "processing", "completed", "failed")(search.status),
    upload: oneOf("awaiting", "uploaded", "rejected", "expired", "aborted", "gone")(search.upload),
    label: Array.isArray(search.label) && search.label.length ? search.label.filter((one): one is string => typeof one === "string") : undefined,
    view: oneOf("list")(search.view),
  }),
});

const page = { getParentRoute: () => frame } as const;

const welcome = createRoute({ ...page, path: "/welcome", component: lazyRouteComponent(() => import("./screens/Welcome"), "Welcome") });
const video = createRoute({ ...page, path: "/videos/$id", component: lazyRouteComponent(() => import("./screens/Video"), "VideoPage") });
const cut = createRoute({ ...page, path: "/videos/$id/cut", component: lazyRouteComponent(() => import("./screens/Cut"), "CutPage") });
const run = createRoute({
  ...page,
  path: "/videos/$id/run",
  component: lazyRouteComponent(() => import("./screens/Run"), "RunPage"),
  validateSearch: (search: Record<string, unknown>): { pipeline?: string } => ({ pipeline: text(search.pipeline) }),
});
const jobs = createRoute({
  ...page,
  path: "/jobs",
  component: lazyRouteComponent(() => import("./screens/Jobs"), "JobsPage"),
  validateSearch: (search: Record<string, unknown>): { status?: JobFilter["status"]; pipeline?: string } => ({
    status: oneOf("awaiting_upload", "queued", "running", "completed", "failed", "cancelled")(search.status),
    pipeline: text(search.pipeline),
  }),
});
const job = createRoute({ ...page, path: "/jobs/$id", component: lazyRouteComponent(() => import("./screens/Job"), "JobPage") });
const generate = createRoute({
  ...page,
  path: "/generate",
  component: lazyRouteComponent(() => import("./screens/Generate"), "GeneratePage"),
  validateSearch: (search: Record<string, unknown>): { job?: string } => ({ job: text(search.job) }),
});
const presets = createRoute({
  ...page,
  path: "/presets",
  component: lazyRouteComponent(() => import("./screens/Presets"), "PresetsPage"),
  validateSearch: (search: Record<string, unknown>): { edit?: string; from?: string } => ({ edit: text(search.edit), from: text(search.from) }),
});
const keys = createRoute({ ...page, path: "/keys", component: lazyRouteComponent(() => import("./screens/Keys"), "KeysPage") });
const system = createRoute({ ...page, path: "/system", component: lazyRouteComponent(() => import("./screens/System"), "SystemPage") });

const tree = root.addChildren([signIn, frame.addChildren([library, welcome, video, cut, run, jobs, job, generate, presets, keys, system])]);

export const router = createRouter({
  routeTree: tree,
  basepath: BASE,
  defaultPreload: "intent",
  scrollRestoration: true,
  defaultErrorComponent: Trouble,
  defaultNotFoundComponent: NotFound,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
