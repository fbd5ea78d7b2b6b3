/** API keys: made, shown once, rotated, revoked. */
import { Badge, Button, Checkbox, CopyButton, Group, Modal, Table, TextInput } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { KeyRound, Plus } from "lucide-react";
import { type FormEvent, useState } from "react";
import { api, body, type Schemas } from "../api/client";
import { client, keysQuery } from "../api/queries";
import { useKeys } from "../lib/keys";
import { ago, exactly } from "../lib/time";
import { ErrorCard } from "../ui/ErrorCard";
import { Empty, Page, Skeleton } from "../ui/Page";
import { done, failed } from "../ui/toast";
import classes from "./Keys.module.css";

type Key = Schemas["KeyReply"];
/** A key with its secret, which nobody can show again. */
type Made = Pick<Schemas["KeyCreated"], "name" | "secret">;
type Scope = Schemas["KeyRequest"]["scopes"][number];

const SCOPES: { value: Scope; label: string; description: string }[] = [
  { value: "upload", label: "Upload", description: "Send videos." },
  { value: "jobs:read", label: "Read", description: "See videos, jobs and results." },
  { value: "jobs:write", label: "Write", description: "Run, cancel, retry, share and delete." },
  { value: "admin", label: "Admin", description: "All of it, with keys and the system." },
];

const refresh = () => client.invalidateQueries({ queryKey: keysQuery.queryKey });

export function KeysPage() {
  const keys = useQuery(keysQuery);
  const [making, setMaking] = useState(false);
  const [ending, setEnding] = useState<Key | null>(null);
  const [secret, setSecret] = useState<Made | null>(null);
  const [all, setAll] = useState(false);
  useKeys([{ keys: "n", label: "Make a key", group: "API keys", run: () => setMaking(true) }]);

  const rotate = useMutation({
    mutationFn: (key: Key) => body(api.POST("/api/v1/keys/{key_id}/rotate", { params: { path: { key_id: key.id } }, body: { overlap_s: 86_400 } })),
    onSuccess: (made) => {
      setSecret(made);
      void refresh();
    },
    onError: (error) => failed(error),
  });
  const revoke = useMutation({
    mutationFn: (key: Key) => body(api.DELETE("/api/v1/keys/{key_id}", { params: { path: { key_id: key.id } } })),
    onSuccess: (_, key) => {
      done(`${key.name} opens nothing any more.`);
      setEnding(null);
      void refresh();
    },
    onError: (error) => failed(error),
  });
  const stopped = keys.data?.items.filter((one) => !one.active).length ?? 0;
  const shown = keys.data?.items.filter((one) => all || one.active) ?? [];

  return (
    <Page
      title="API keys"
      lead="For programs, and for people on other machines. A key is shown once."
      actions={
        <Button leftSection={<Plus size={16} aria-hidden />} onClick={() => setMaking(true)}>
          Make a key
        </Button>
      }
    >
      {keys.isError && <ErrorCard error={keys.error} onRetry={() => void keys.refetch()} />}
      {keys.isPending && <Skeleton height={200} what="the keys" />}
      {keys.isSuccess && shown.length === 0 && (
        <Empty icon={<KeyRound />} title="No key yet">
          Make one for each program: then each can be revoked alone.
        </Empty>
      )}
      {shown.length > 0 && (
        <div className={classes.frame}>
          <Table className={classes.table} verticalSpacing="sm" horizontalSpacing="md">
            <Table.Thead>
              <Table.Tr>
                <Table.Th>Name</Table.Th>
                <Table.Th>Begins with</Table.Th>
                <Table.Th>May</Table.Th>
                <Table.Th>Made</Table.Th>
                <Table.Th>
                  <span className="rm-hidden">Actions</span>
                </Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {shown.map((one) => (
                <Table.Tr key={one.id} data-active={one.active || undefined}>
                  <Table.Td data-label="Name">
                    <strong>{one.name}</strong>
                    {one.subject !== one.name && <div className="rm-dim">{one.subject}</div>}
                  </Table.Td>
                  <Table.Td data-label="Begins with">
                    <code>{one.prefix}…</code>
                  </Table.Td>
                  <Table.Td data-label="May">
                    <Group gap={5}>
                      {one.scopes.map((scope) => (
                        <Badge key={scope} variant="default" radius="sm" tt="none" fw={500}>
                          {scope}
                        </Badge>
                      ))}
                    </Group>
                  </Table.Td>
                  <Table.Td data-label="Made" className="rm-num">
                    <time dateTime={one.created_at} title={exactly(one.created_at)}>
                      {ago(one.created_at)}
                    </time>
                    {one.revoked_at && <div className="rm-dim">{one.active ? `ends ${exactly(one.revoked_at)}` : `stopped ${ago(one.revoked_at)}`}</div>}
                  </Table.Td>
                  <Table.Td>
                    {one.active && !one.revoked_at && (
                      <Group gap={6} justify="flex-end" wrap="nowrap">
                        <Button size="compact-sm" variant="default" onClick={() => rotate.mutate(one)} aria-label={`Rotate ${one.name}`}>
                          Rotate
                        </Button>
                        <Button size="compact-sm" variant="default" onClick={() => setEnding(one)} aria-label={`Revoke ${one.name}`}>
                          Revoke
                        </Button>
                      </Group>
                    )}
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </div>
      )}
      {stopped > 0 && <Checkbox mt="md" label={`Also the ${stopped} that ${stopped === 1 ? "has" : "have"} stopped`} checked={all} onChange={(event) => setAll(event.currentTarget.checked)} />}
      {making && (
        <MakeKey
          onClose={() => setMaking(false)}
          onMade={(made) => {
            setMaking(false);
            setSecret(made);
            void refresh();
          }}
        />
      )}
      <Modal opened={secret !== null} onClose={() => setSecret(null)} title={`The key ${secret?.name ?? ""}`} size="lg" closeOnClickOutside={false}>
        <p style={{ marginTop: 0 }}>Copy it now: nobody can show it again. A rotated key's old secret works for another day.</p>
        <div className={classes.secret}>
          <code>{secret?.secret}</code>
          <CopyButton value={secret?.secret ?? ""}>{({ copied, copy }) => <Button size="xs" onClick={copy}>{copied ? "Copied" : "Copy"}</Button>}</CopyButton>
        </div>
      </Modal>
      <Modal opened={ending !== null} onClose={() => setEnding(null)} title={`Revoke ${ending?.name ?? ""}?`}>
        <p style={{ marginTop: 0 }}>Whoever uses it is locked out at once, and a browser that signed in with it. This can't be undone.</p>
        <Group justify="flex-end">
          <Button variant="default" onClick={() => setEnding(null)}>
            Keep it
          </Button>
          <Button color="red" loading={revoke.isPending} onClick={() => ending && revoke.mutate(ending)}>
            Revoke
          </Button>
        </Group>
      </Modal>
    </Page>
  );
}

function MakeKey({ onClose, onMade }: { onClose: () => void; onMade: (made: Made) => void }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<string[]>(["upload", "jobs:read", "jobs:write"]);
  const make = useMutation({
    mutationFn: () => body(api.POST("/api/v1/keys", { body: { name, scopes: scopes as Scope[] } })),
    onSuccess: onMade,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    make.mutate();
  };
  return (
    <Modal opened onClose={onClose} title="Make a key">
      <form onSubmit={submit}>
        <TextInput label="Name" description="What uses it, to tell it from others." required data-autofocus value={name} maxLength={128} onChange={(event) => setName(event.currentTarget.value)} mb="md" />
        <Checkbox.Group label="It may" value={scopes} onChange={setScopes} required>
          <div className={classes.scopes}>
            {SCOPES.map((one) => (
              <Checkbox key={one.value} value={one.value} label={one.label} description={one.description} />
            ))}
          </div>
        </Checkbox.Group>
        {make.isError && <ErrorCard error={make.error} compact />}
        <Button type="submit" fullWidth mt="lg" loading={make.isPending} disabled={!name.trim() || scopes.length === 0}>
          Make the key
        </Button>
      </form>
    </Modal>
  );
}
