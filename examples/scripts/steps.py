"""Works in steps, says where it is and what that cost, and goes on after its last step when it is run again."""
import json, os, sys

events = open(int(os.environ["TOWLINE_EVENTS"]), "w", buffering=1)

def say(kind, **body):
    print(json.dumps({"kind": kind, "body": body}), file=events)

steps = json.load(sys.stdin)["steps"]
for step in range(int(os.environ.get("TOWLINE_CHECKPOINT", 0)) + 1, steps + 1):
    say("progress", current=step, total=steps)
    say("metric", name="cost.steps", value=0.01, unit="USD")
    say("checkpoint", value=step)
print(json.dumps({"steps": steps}))
