import { Page } from "../ui/Page";

export function SignIn() {
  return <Page title="Sign in">{null}</Page>;
}
