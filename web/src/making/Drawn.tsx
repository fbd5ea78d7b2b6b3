/** A picture that the server makes: its place is there from the beginning, so nothing moves when it comes. */
import { useQuery, type UseQueryOptions, keepPreviousData } from "@tanstack/react-query";
import { type CSSProperties, type ReactNode, useEffect, useRef, useState } from "react";
import type { ApiError } from "../api/client";
import classes from "./Making.module.css";
import type { Drawn } from "./queries";

/** A blob's address for as long as it is shown. */
function useAddress(blob: Blob | undefined): string | undefined {
  const [address, setAddress] = useState<string>();
  useEffect(() => {
    if (!blob) return setAddress(undefined);
    const made = URL.createObjectURL(blob);
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  return address;
}

interface Props {
  // biome-ignore lint: queries of any key
  query: UseQueryOptions<Drawn, Error, Drawn, any>;
  alt: string;
  aspect: number;
  /** Nothing to draw yet. */
  idle?: boolean;
  /** Small, in a list: drawn when it comes into view; what went wrong is told elsewhere. */
  small?: boolean;
  children?: (report: Record<string, unknown> | null) => ReactNode;
}

export function DrawnPicture({ query, alt, aspect, idle = false, small = false, children }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState(!small);
  useEffect(() => {
    if (seen || !place.current) return;
    const watcher = new IntersectionObserver((all) => all.some((one) => one.isIntersecting) && setSeen(true), { rootMargin: "200px" });
    watcher.observe(place.current);
    return () => watcher.disconnect();
  }, [seen]);
  const made = useQuery({ ...query, enabled: seen && !idle, placeholderData: keepPreviousData });
  const address = useAddress(idle ? undefined : made.data?.picture);
  const fault = made.error as ApiError | null;
  return (
    <div ref={place} className={classes.drawn} style={{ aspectRatio: aspect, "--aspect": aspect } as CSSProperties} data-small={small || undefined} data-drawn={address && !made.isFetching ? true : undefined} data-stale={made.isFetching || undefined}>
      {address && <img src={address} alt={alt} data-faulty={fault ? true : undefined} />}
      {address && !fault && children?.(made.data?.report ?? null)}
      {!address && !fault && !small && !idle && <p className={classes.word} role="status">The server draws it …</p>}
      {fault && !small && (
        <p className={classes.word} data-refused={fault.code}>
          <strong>{fault.what}</strong> {fault.remedy}
        </p>
      )}
    </div>
  );
}
