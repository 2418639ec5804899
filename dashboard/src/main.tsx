import "./styles/main.css";
import { render } from "preact";
import { signInNeeded } from "./api";
import { App } from "./app";
import { feed } from "./live-query";
import { keepConnected } from "./live";
import { followLinks } from "./location";

followLinks();
keepConnected(feed, signInNeeded);
render(<App />, document.getElementById("app")!);
