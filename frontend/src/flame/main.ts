// Starts the page: reads the data, then hands over to the application.

import { App } from "./app";
import { readProfile } from "./data";

async function start(): Promise<void> {
  const data = document.getElementById("data")!;
  const profile = await readProfile(data.textContent!.trim());
  data.remove();
  document.getElementById("app")!.hidden = false;
  // for scripts and measurements: document.querySelector("#app").flame.draw()
  Object.assign(document.getElementById("app")!, { flame: new App(profile) });
  document.documentElement.dataset["ready"] = "1";
}

start().catch((error: unknown) => {
  const message = document.createElement("p");
  message.className = "notes";
  message.setAttribute("role", "alert");
  message.textContent = `This page could not be drawn by this browser: ${String(error)}`;
  document.body.append(message);
});
