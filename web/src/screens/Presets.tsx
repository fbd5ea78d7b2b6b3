/** Presets: looks of texts on a real frame, the built-in ones and one's own, and where one's own are made. */
import { ActionIcon, Button, Menu, SegmentedControl, Slider, Switch, TextInput, Tooltip } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { ArrowLeft, Copy, Ellipsis, Pencil, Plus, Redo2, Trash2, Undo2 } from "lucide-react";
import { useEffect, useState } from "react";
import { type ApiError, api, body, type Schemas } from "../api/client";
import { client } from "../api/queries";
import editor from "../clips/Clips.module.css";
import type { Params } from "../clips/draft";
import { useHistory } from "../clips/history";
import { useKeys } from "../lib/keys";
import { AS_WRITTEN } from "../lib/text";
import { timecode } from "../lib/time";
import { FilmSelect, useFilms } from "../making/FilmSelect";
import { LookForm } from "../making/LookForm";
import { askedOf, type Film, LookPicture } from "../making/LookPicture";
import { contrastOf, type Draft, freeName, keepLook, keepView, readLook, readView, type View } from "../making/look";
import classes from "../making/Making.module.css";
import { lookQuery, presetsQuery } from "../making/queries";
import { ErrorCard } from "../ui/ErrorCard";
import { Page, Skeleton } from "../ui/Page";
import { done, failed, undoable } from "../ui/toast";

type Preset = Schemas["PresetReply"];
const ASPECTS = [{ value: "source", label: "As filmed" }, { value: "16:9", label: "16:9" }, { value: "9:16", label: "9:16" }, { value: "1:1", label: "1:1" }];
const NOWHERE: Film = { id: "", duration: 1, aspect: 1 };
const fresh = () => void client.invalidateQueries({ queryKey: presetsQuery.queryKey });
const shown = (name: string) => name.replace(/_/g, " ");

/** How presets are looked at; kept by a reload. */
function useView() {
  const [view, setView] = useState(readView);
  useEffect(() => keepView(view), [view]);
  const { films, pending } = useFilms();
  const one = films.find((film) => film.id === view.video) ?? films[0];
  const film: Film | null = one?.duration ? { id: one.id, duration: one.duration, aspect: (one.width ?? 16) / (one.height ?? 9) } : null;
  const [asked] = useDebouncedValue(view, 250);
  return { view, asked: { ...asked, safe: view.safe }, setView, film, pending };
}

type Looking = ReturnType<typeof useView>;

export function PresetsPage() {
  const { edit, from } = useSearch({ strict: false }) as { edit?: string; from?: string };
  const presets = useQuery(presetsQuery);
  const looking = useView();
  if (presets.error && !presets.data) {
    return (
      <Page title="Presets">
        <ErrorCard error={presets.error} onRetry={() => void presets.refetch()} />
      </Page>
    );
  }
  if (!presets.data || looking.pending) {
    return (
      <Page title="Presets">
        <Skeleton height={420} what="the presets" />
      </Page>
    );
  }
  const { items, fonts } = presets.data;
  const known = items.find((one) => one.id === edit);
  if (edit === "new" || known) return <Editor key={`${edit}-${from}`} {...{ items, fonts, looking }} edit={edit as string} known={known} from={from} />;
  return <Gallery items={items} looking={looking} />;
}

function ViewBar({ looking: { view, setView, film } }: { looking: Looking }) {
  const set = (part: Partial<View>) => setView((now) => ({ ...now, ...part }));
  return (
    <div className={classes.view} role="group" aria-label="How they are shown">
      <FilmSelect label="On a frame of" value={film?.id ?? null} onChange={(video) => set({ video, at: null })} />
      <TextInput label="Words" value={view.text} maxLength={200} attributes={AS_WRITTEN} onChange={(event) => set({ text: event.currentTarget.value })} />
      <div>
        <span className={editor.label}>Shape</span>
        <SegmentedControl fullWidth size="xs" aria-label="Shape of the picture" data={ASPECTS} value={view.aspect} onChange={(aspect) => set({ aspect })} />
      </div>
      <div className={classes.moment}>
        <span className={editor.label} id="moment-label">Moment <span className="rm-dim rm-num">{timecode(view.at ?? (film?.duration ?? 0) / 3, 1)}</span></span>
        <Slider thumbLabel="Moment of the film" aria-labelledby="moment-label" min={0} max={Math.max(0.1, film?.duration ?? 1)} step={0.1} disabled={!film} value={view.at ?? (film?.duration ?? 0) / 3} label={(one) => timecode(one, 1)} onChange={(at) => set({ at })} />
      </div>
      <Switch label="Safe area" checked={view.safe} onChange={(event) => set({ safe: event.currentTarget.checked })} />
    </div>
  );
}

function Gallery({ items, looking }: { items: Preset[]; looking: Looking }) {
  const navigate = useNavigate();
  const mine = items.filter((one) => one.id !== null);
  const ours = items.filter((one) => one.id === null);
  const begin = (from?: string) => void navigate({ to: "/presets", search: { edit: "new", from } });
  const remove = (one: Preset) =>
    body(api.DELETE("/api/v1/presets/{preset_id}", { params: { path: { preset_id: one.id as string } } })).then(
      () => {
        fresh();
        undoable(`${one.name} is removed; clips keep the look they were made with.`, () => {
          void body(api.POST("/api/v1/presets", { body: { name: one.name, style: one.style } })).then(fresh, failed);
        });
      },
      (error: unknown) => failed(error),
    );
  useKeys([
    { keys: "n", label: "New brand", group: "Presets", run: () => begin() },
    { keys: "s", label: "Show or hide the safe area", group: "Presets", run: () => looking.setView((now) => ({ ...now, safe: !now.safe })) },
  ]);
  const cards = (all: Preset[]) => (
    <ul className={classes.looks} data-upright={looking.view.aspect === "9:16" || undefined}>
      {all.map((one) => (
        <li key={one.id ?? one.name} className={classes.look} data-preset={one.name}>
          <button type="button" className={classes.face} aria-label={one.id ? `Edit ${one.name}` : `Make a brand of ${shown(one.name)}`} onClick={() => (one.id ? void navigate({ to: "/presets", search: { edit: one.id } }) : begin(one.name))}>
            {/* By its name, as jobs call it; a brand that was changed is drawn anew. */}
            <LookPicture name={shown(one.name)} style={one.id ? one.style : { preset: one.name }} values={one.style} film={looking.film} view={looking.asked} small />
          </button>
          <div className={classes.lookFoot}>
            <b className="rm-clip" data-own={one.id ? true : undefined}>{one.id ? one.name : shown(one.name)}</b>
            {one.id ? (
              <Menu position="bottom-end">
                <Menu.Target>
                  <ActionIcon aria-label={`More for ${one.name}`}><Ellipsis size={17} /></ActionIcon>
                </Menu.Target>
                <Menu.Dropdown>
                  <Menu.Item leftSection={<Pencil size={15} />} onClick={() => void navigate({ to: "/presets", search: { edit: one.id as string } })}>Edit</Menu.Item>
                  <Menu.Item leftSection={<Copy size={15} />} onClick={() => begin(one.name)}>Copy</Menu.Item>
                  <Menu.Item leftSection={<Trash2 size={15} />} color="red" onClick={() => void remove(one)}>Remove</Menu.Item>
                </Menu.Dropdown>
              </Menu>
            ) : (
              <Tooltip label="Make a brand of it">
                <ActionIcon aria-label={`Copy ${shown(one.name)}`} onClick={() => begin(one.name)}><Copy size={16} /></ActionIcon>
              </Tooltip>
            )}
          </div>
        </li>
      ))}
    </ul>
  );
  return (
    <Page
      title="Presets"
      lead={looking.film ? "Looks of texts, on a real frame, drawn by what draws the clips." : "Sketches, while there is no film: upload one, and each look is drawn on a real frame."}
      actions={<Button leftSection={<Plus size={16} />} onClick={() => begin()}>New brand</Button>}
    >
      <ViewBar looking={looking} />
      <h2 className={classes.sub}>Yours</h2>
      {mine.length ? cards(mine) : <p className="rm-dim" style={{ marginBlock: "0 28px" }}>No brand yet. Copy a look that comes near, and change colours, letters and place. Jobs call it by its name.</p>}
      <h2 className={classes.sub}>Built in</h2>
      {cards(ours)}
    </Page>
  );
}

interface EditorProps {
  items: Preset[];
  fonts: string[];
  looking: Looking;
  edit: string;
  known?: Preset;
  from?: string;
}

function Editor({ items, fonts, looking, edit, known, from }: EditorProps) {
  const navigate = useNavigate();
  const place = known ? edit : `new-${from ?? ""}`;
  const first = (): Draft => {
    const base = items.find((one) => one.name === (from ?? "caption"));
    return { edit: place, name: known?.name ?? (from ? freeName(shown(from), items.map((one) => one.name)) : ""), style: { ...(known ?? base)?.style } };
  };
  const history = useHistory<Draft>(() => readLook(place) ?? first());
  const { value: draft, change, undo, redo } = history;
  useEffect(() => keepLook(draft), [draft]);
  useEffect(() => {
    document.title = `${known ? known.name : "New brand"} · Presets · Reelmill`;
  }, [known]);
  const [style] = useDebouncedValue(draft.style, 180);
  const picture = useQuery({ ...lookQuery(askedOf(style, looking.film ?? NOWHERE, looking.asked)), enabled: false });
  const contrast = contrastOf(picture.data?.report ?? null);
  const leave = () => {
    keepLook(null);
    void navigate({ to: "/presets", search: {} });
  };
  const save = useMutation({
    mutationFn: () =>
      known?.id
        ? body(api.PUT("/api/v1/presets/{preset_id}", { params: { path: { preset_id: known.id } }, body: { style: draft.style } }))
        : body(api.POST("/api/v1/presets", { body: { name: draft.name.trim(), style: draft.style } })),
    onSuccess: (kept) => {
      fresh();
      done(known ? `${kept.name} is changed. Jobs from now on have the new look.` : `${kept.name} is kept: New clips offers it, and jobs call it by its name.`);
      leave();
    },
  });
  const problem = save.error as ApiError | null;
  const faults = problem?.fields ?? [];
  const named = problem?.code === "name_taken" ? `${problem.what} ${problem.remedy}` : faults.find((one) => one.field === "name")?.message;
  const ready = draft.name.trim() !== "" && !save.isPending;
  useKeys([
    { keys: "mod+z", label: "Undo", group: "General", run: undo, whileTyping: true },
    { keys: ["mod+shift+z", "mod+y"], label: "Redo", group: "General", run: redo, whileTyping: true },
    { keys: ["mod+enter", "mod+s"], label: "Keep the brand", group: "Presets", run: () => ready && save.mutate(), whileTyping: true },
    { keys: "s", label: "Show or hide the safe area", group: "Presets", run: () => looking.setView((now) => ({ ...now, safe: !now.safe })) },
    { keys: "escape", label: "Back to the presets", group: "Presets", run: leave },
  ]);
  const set = (part: Params, kind = "") => change((now) => ({ ...now, style: { ...now.style, ...part } }), kind && `style-${kind}`);
  return (
    <div className={editor.editor}>
      <h1 className="rm-hidden">{known ? `The brand ${known.name}` : "New brand"}</h1>
      <header className={editor.top}>
        <ActionIcon component={Link} {...({ to: "/presets", search: {} } as object)} aria-label="Back to the presets"><ArrowLeft size={18} /></ActionIcon>
        <p className={editor.name}>{known?.name ?? (draft.name || "New brand")}</p>
        <Tooltip label="Undo (Ctrl Z)"><ActionIcon aria-label="Undo" disabled={!history.canUndo} onClick={undo}><Undo2 size={17} /></ActionIcon></Tooltip>
        <Tooltip label="Redo"><ActionIcon aria-label="Redo" disabled={!history.canRedo} onClick={redo}><Redo2 size={17} /></ActionIcon></Tooltip>
      </header>
      <div className={classes.board}>
        <div className={classes.big}>
          <LookPicture name={draft.name || "new brand"} style={style} values={draft.style} film={looking.film} view={looking.asked} />
        </div>
        <p className={classes.report} role="status" data-good={contrast?.good || undefined}>
          {contrast?.words ?? (looking.film ? "The contrast is measured against the film." : "A sketch: upload a film to see the look on it.")}
        </p>
        <ViewBar looking={looking} />
      </div>
      <aside className={editor.side} aria-label="The look">
        <section className={editor.panel} aria-label="Name">
          <TextInput label="Name" description={known ? "A name stays: jobs call the look by it." : "Letters, digits, spaces, . _ -"} value={draft.name} maxLength={64} disabled={known !== undefined} error={named} onChange={(event) => {
            const name = event.currentTarget.value;
            change((now) => ({ ...now, name }), "name");
          }} />
          <div>
            <span className={editor.label}>Begin with</span>
            <div className={editor.presets} role="group" aria-label="Begin with">
              {items.filter((one) => one.id === null).map((one) => (
                <button key={one.name} type="button" className={editor.preset} aria-pressed={JSON.stringify(one.style) === JSON.stringify(draft.style)} onClick={() => change((now) => ({ ...now, style: { ...one.style } }))}>
                  {shown(one.name)}
                </button>
              ))}
            </div>
          </div>
        </section>
        <LookForm style={draft.style} fonts={fonts} faults={faults} onChange={set} />
      </aside>
      <footer className={editor.foot}>
        {problem && <div className={editor.refused}><ErrorCard error={problem} compact onRetry={() => save.mutate()} /></div>}
        <p className={editor.sum}>{known ? "Jobs that there are keep the look they were made with." : "Kept for everybody of this tenant."}</p>
        <Button variant="default" onClick={leave}>Never mind</Button>
        <Button size="md" disabled={!ready} loading={save.isPending} onClick={() => save.mutate()}>{known ? "Keep the changes" : "Keep the brand"}</Button>
      </footer>
    </div>
  );
}
