/** The frame of a screen: its heading, what can be done, and the states that each list has. */
import type { ReactNode } from "react";
import { useEffect } from "react";
import classes from "./Page.module.css";

interface Props {
  title: string;
  /** Below or beside the title, in one line. */
  lead?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
  /** For reading: not wider than text should be. */
  narrow?: boolean;
}

export function Page({ title, lead, actions, children, narrow = false }: Props) {
  useEffect(() => {
    document.title = `${title} · Reelmill`;
  }, [title]);
  return (
    <div className={classes.page} data-narrow={narrow || undefined}>
      <header className={classes.head}>
        <div className={classes.titles}>
          <h1 className={classes.title}>{title}</h1>
          {lead && <div className={classes.lead}>{lead}</div>}
        </div>
        {actions && <div className={classes.actions}>{actions}</div>}
      </header>
      {children}
    </div>
  );
}

export function Empty({ icon, title, children, actions }: { icon?: ReactNode; title: string; children?: ReactNode; actions?: ReactNode }) {
  return (
    <div className={classes.empty}>
      {icon && <div className={classes.emptyIcon}>{icon}</div>}
      <h2 className={classes.emptyTitle}>{title}</h2>
      {children && <div className={classes.emptyText}>{children}</div>}
      {actions && <div className={classes.emptyActions}>{actions}</div>}
    </div>
  );
}

/** Where something will be: the same size, so that nothing jumps. Says what is loaded to those who can't see. */
export function Skeleton({ height, width, what }: { height: number | string; width?: number | string; what?: string }) {
  return (
    <div className={classes.skeleton} style={{ height, width: width ?? "100%" }} role={what ? "status" : undefined} aria-hidden={what ? undefined : true}>
      {what && <span className="rm-hidden">Loading {what} …</span>}
    </div>
  );
}
