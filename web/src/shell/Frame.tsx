/** The frame of all pages: where one can go, search, uploads, live state, keys. */
import { ActionIcon, Kbd, Menu, Tooltip, useMantineColorScheme, VisuallyHidden } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { Activity, Clapperboard, Keyboard, KeyRound, Library, ListVideo, LogOut, Menu as MenuIcon, Monitor, Moon, Palette as PaletteIcon, Search, Sparkles, Sun, Upload, WifiOff } from "lucide-react";
import { lazy, Suspense, useEffect, useLayoutEffect, useState } from "react";
import { onSignedOut, session } from "../api/client";
import { useLiveCache, useLiveState } from "../api/live";
import { client, sessionQuery } from "../api/queries";
import { type Binding, isMac, listenToKeys, useKeys } from "../lib/keys";
import { DropAnywhere } from "../uploads/DropAnywhere";
import { Tray } from "../uploads/Tray";
import { chooseFiles } from "../uploads/choose";
import classes from "./Frame.module.css";

const Palette = lazy(() => import("./Palette"));
const KeySheet = lazy(() => import("./KeySheet"));

const PLACES = [
  { to: "/", label: "Library", Icon: Library, keys: "g l" },
  { to: "/jobs", label: "Jobs", Icon: ListVideo, keys: "g j" },
  { to: "/generate", label: "Generate", Icon: Sparkles, keys: "g e" },
  { to: "/presets", label: "Presets", Icon: PaletteIcon, keys: "g p" },
  { to: "/keys", label: "API keys", Icon: KeyRound, keys: "g k", admin: true },
  { to: "/system", label: "System", Icon: Activity, keys: "g s", admin: true },
] as const;

export function Frame() {
  useLiveCache();
  const navigate = useNavigate();
  const path = useRouterState({ select: (state) => state.location.pathname });
  const opening = useRouterState({ select: (state) => state.status === "pending" });
  const { setColorScheme, colorScheme } = useMantineColorScheme();
  const [palette, setPalette] = useState(false);
  const [sheet, setSheet] = useState(false);

  useLayoutEffect(listenToKeys, []);
  useEffect(() => onSignedOut(() => void navigate({ to: "/sign-in", search: { to: undefined, problem: "ended" } })), [navigate]);

  const scopes = useQuery(sessionQuery).data?.scopes ?? [];
  const places = PLACES.filter((one) => !("admin" in one) || scopes.includes("admin"));
  const themes = { auto: "light", light: "dark", dark: "auto" } as const;
  const turn = () => setColorScheme(themes[colorScheme]);
  const bindings: Binding[] = [
    ...places.map(({ to, label, keys }): Binding => ({ keys, label: `Go to ${label}`, group: "Go", run: () => void navigate({ to }) })),
    { keys: "mod+k", label: "Find or do anything", group: "General", run: () => setPalette(true), whileTyping: true, quiet: true },
    { keys: "/", label: "Search the library", group: "General", run: () => void navigate({ to: "/", state: { searching: true } }), disabled: path === "/" },
    { keys: "?", label: "Show all keys", group: "General", run: () => setSheet(true) },
    { keys: "u", label: "Upload videos", group: "General", run: () => chooseFiles() },
    { keys: "t", label: "Turn light, dark, or as the system", group: "General", run: turn },
  ];
  useKeys(bindings);

  const signOut = async () => {
    await session.signOut().catch(() => undefined);
    client.clear();
    await navigate({ to: "/sign-in", search: {} });
  };
  const links = places.map(({ to, label, Icon }) => (
    <Link key={to} to={to} className={classes.link} activeOptions={{ exact: to === "/" }} data-within={to === "/" && path.startsWith("/videos") ? true : undefined}>
      <Icon size={17} aria-hidden />
      <span>{label}</span>
    </Link>
  ));
  const ThemeIcon = { auto: Monitor, light: Sun, dark: Moon }[colorScheme];

  return (
    <div className={classes.frame}>
      <a href="#main" className={classes.skip} onClick={(event) => {
        event.preventDefault();
        document.getElementById("main")?.focus();
      }}>
        Skip to the page
      </a>
      <aside className={classes.side} aria-label="Reelmill">
        <Link to="/" className={classes.brand}>
          <Clapperboard size={20} aria-hidden />
          Reelmill
        </Link>
        <button type="button" className={classes.find} onClick={() => setPalette(true)}>
          <Search size={15} aria-hidden />
          <span>Find</span>
          <Kbd size="xs" aria-hidden>{isMac ? "⌘K" : "Ctrl K"}</Kbd>
        </button>
        <nav className={classes.nav} aria-label="Main">
          {links}
        </nav>
        <LiveChip />
        <div className={classes.foot}>
          <Tooltip label={`Theme: ${colorScheme === "auto" ? "as the system" : colorScheme}`}>
            <ActionIcon onClick={turn} aria-label={`Theme: ${colorScheme === "auto" ? "as the system" : colorScheme}. Change`}>
              <ThemeIcon size={17} />
            </ActionIcon>
          </Tooltip>
          <Tooltip label="Keys (?)">
            <ActionIcon onClick={() => setSheet(true)} aria-label="Show all keys">
              <Keyboard size={17} />
            </ActionIcon>
          </Tooltip>
          <Tooltip label="Sign out">
            <ActionIcon onClick={() => void signOut()} aria-label="Sign out">
              <LogOut size={17} />
            </ActionIcon>
          </Tooltip>
        </div>
      </aside>
      <nav className={classes.bar} aria-label="On a phone">
        <Link to="/" className={classes.brand}>
          <Clapperboard size={20} aria-hidden />
          Reelmill
        </Link>
        <LiveChip />
        <ActionIcon onClick={() => chooseFiles()} aria-label="Upload videos" size={44}>
          <Upload size={20} />
        </ActionIcon>
        <ActionIcon onClick={() => setPalette(true)} aria-label="Find or do anything" size={44}>
          <Search size={20} />
        </ActionIcon>
        <Menu position="bottom-end">
          <Menu.Target>
            <ActionIcon aria-label="Menu" size={44}>
              <MenuIcon size={20} />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            {places.map(({ to, label, Icon }) => (
              <Menu.Item key={to} leftSection={<Icon size={16} />} onClick={() => void navigate({ to })}>
                {label}
              </Menu.Item>
            ))}
            <Menu.Divider />
            <Menu.Item leftSection={<ThemeIcon size={16} />} onClick={turn} closeMenuOnClick={false}>
              Theme: {colorScheme === "auto" ? "as the system" : colorScheme}
            </Menu.Item>
            <Menu.Item leftSection={<LogOut size={16} />} onClick={() => void signOut()}>
              Sign out
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      </nav>
      <main id="main" className={classes.main} tabIndex={-1} aria-busy={opening || undefined}>
        <Suspense fallback={<VisuallyHidden role="status">Opening the page …</VisuallyHidden>}>
          <Outlet />
        </Suspense>
      </main>
      <Tray />
      <DropAnywhere />
      <Suspense fallback={null}>
        {palette && <Palette onClose={() => setPalette(false)} />}
        {sheet && <KeySheet onClose={() => setSheet(false)} />}
      </Suspense>
    </div>
  );
}

function LiveChip() {
  const live = useLiveState();
  if (live === "live" || live === "connecting") return null;
  return (
    <div className={classes.chip} role="status">
      <WifiOff size={14} aria-hidden />
      {live === "offline" ? "Offline" : "Reconnecting; asking every 4 s"}
    </div>
  );
}
