// Works in steps, says where it is and what that cost, and goes on after its last step when it is run again.
import { readFileSync, writeSync } from "node:fs";

const events = Number(process.env.TOWLINE_EVENTS);
const say = (kind, body) => writeSync(events, JSON.stringify({ kind, body }) + "\n");

const { steps } = JSON.parse(readFileSync(0, "utf8"));
for (let step = Number(process.env.TOWLINE_CHECKPOINT ?? 0) + 1; step <= steps; step++) {
  say("progress", { current: step, total: steps });
  say("metric", { name: "cost.steps", value: 0.01, unit: "USD" });
  say("checkpoint", { value: step });
}
console.log(JSON.stringify({ steps }));
