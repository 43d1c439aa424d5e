// Starts the page: reads the data, then hands over to the map and, if there are stacks, to the flame graph.

import { App } from "../flame/app";
import { readProfile } from "../flame/data";
import { HeatApp } from "./app";
import { readHeat } from "./data";

async function start(): Promise<void> {
  const take = (id: string): string => {
    const data = document.getElementById(id)!;
    const text = data.textContent!.trim();
    data.remove();
    return text;
  };
  const heat = await readHeat(take("heat-data"));
  const flameText = take("data");
  document.getElementById("heat")!.hidden = false;
  let flame: App | null = null;
  if (heat.flame) {
    const profile = await readProfile(flameText);
    document.getElementById("app")!.hidden = false;
    flame = new App(profile);
  }
  const page = new HeatApp(heat, flame);
  // for scripts and measurements: document.querySelector("#heat").heat.choose({left: 0, ...})
  Object.assign(document.getElementById("heat")!, { heat: page });
  if (flame) Object.assign(document.getElementById("app")!, { flame });
  document.documentElement.dataset["ready"] = "1";
}

start().catch((error: unknown) => {
  const message = document.createElement("p");
  message.className = "notes";
  message.setAttribute("role", "alert");
  message.textContent = `This page could not be drawn by this browser: ${String(error)}`;
  document.body.append(message);
});
