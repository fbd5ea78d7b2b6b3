/** For fields of words in any language: what is written right to left stands so, whatever the page's own language. */
export const AS_WRITTEN = { input: { dir: "auto" } };
