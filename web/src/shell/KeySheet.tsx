/** All keys that work now, in groups. */
import { Kbd, Modal } from "@mantine/core";
import { shown, useBindings } from "../lib/keys";
import classes from "./KeySheet.module.css";

export default function KeySheet({ onClose }: { onClose: () => void }) {
  const bindings = useBindings();
  const groups = [...new Set(bindings.map((one) => one.group))].sort((a, b) => (a === "General" ? 1 : b === "General" ? -1 : 0));
  return (
    <Modal opened onClose={onClose} title="Keys" size="xl">
      <div className={classes.groups}>
        {groups.map((group) => (
          <section key={group} className={classes.group}>
            <h2>{group}</h2>
            <dl>
              {bindings
                .filter((one) => one.group === group && !one.disabled)
                .map((one) => (
                  <div key={`${one.label}${one.keys}`} className={classes.row}>
                    <dt>{one.label}</dt>
                    <dd>
                      {[one.keys].flat().map((keys, n) => (
                        <span key={keys}>
                          {n > 0 && " or "}
                          {shown(keys).map((combo, i) => (
                            <span key={combo.join()}>
                              {i > 0 && " then "}
                              {combo.map((key) => (
                                <Kbd key={key} size="xs">
                                  {key}
                                </Kbd>
                              ))}
                            </span>
                          ))}
                        </span>
                      ))}
                    </dd>
                  </div>
                ))}
            </dl>
          </section>
        ))}
      </div>
    </Modal>
  );
}
