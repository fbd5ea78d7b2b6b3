/** The look: ink on paper, one violet, small type, hairlines. Colours are tokens of `tokens.css`. */
import { createTheme, type MantineColorsTuple } from "@mantine/core";

const iris: MantineColorsTuple = ["#f3f3ff", "#e4e4fb", "#c9c9f5", "#a9a9ee", "#8b8be6", "#7373df", "#5b5bd6", "#4c4cc4", "#4040a8", "#34348a"];
const ink: MantineColorsTuple = ["#ededf2", "#c6c7d0", "#a0a1ae", "#7d7e8c", "#3a3b45", "#2b2c34", "#212229", "#17181d", "#111216", "#0b0c0f"];

export const theme = createTheme({
  primaryColor: "iris",
  primaryShade: { light: 6, dark: 6 },
  colors: { iris, dark: ink },
  fontFamily: '"Inter Variable", system-ui, sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", monospace',
  headings: { fontFamily: '"Inter Variable", system-ui, sans-serif', fontWeight: "600" },
  fontSizes: { xs: "0.75rem", sm: "0.8125rem", md: "0.875rem", lg: "1rem", xl: "1.25rem" },
  lineHeights: { xs: "1.4", sm: "1.45", md: "1.5", lg: "1.5", xl: "1.4" },
  radius: { xs: "4px", sm: "6px", md: "8px", lg: "12px", xl: "16px" },
  defaultRadius: "sm",
  cursorType: "pointer",
  focusRing: "auto",
  respectReducedMotion: true,
  autoContrast: true,
  components: {
    Button: { defaultProps: { size: "sm" } },
    TextInput: { defaultProps: { size: "sm" } },
    NumberInput: { defaultProps: { size: "sm" } },
    Select: { defaultProps: { size: "sm", allowDeselect: false } },
    MultiSelect: { defaultProps: { size: "sm" } },
    Textarea: { defaultProps: { size: "sm", autosize: true, minRows: 2 } },
    ActionIcon: { defaultProps: { variant: "subtle", color: "gray", size: "lg" } },
    Modal: { defaultProps: { closeButtonProps: { "aria-label": "Close" }, centered: true, radius: "lg", overlayProps: { backgroundOpacity: 0.45, blur: 2 }, transitionProps: { duration: 120 } } },
    Notification: { defaultProps: { closeButtonProps: { "aria-label": "Close" } } },
    Menu: { defaultProps: { shadow: "md", radius: "md", transitionProps: { duration: 100 } } },
    Kbd: { styles: { root: { fontFamily: '"Inter Variable", system-ui, sans-serif', fontWeight: 500, color: "var(--rm-dim)", background: "var(--rm-surface)" } } },
    Tooltip: { defaultProps: { openDelay: 400, withArrow: false, fz: "xs", events: { hover: true, focus: true, touch: false } } },
  },
});
