//! What the agent of the demo does: it reads a repository, mends a word in it, tries what its lease does not cover, and goes on until
//! its budget is spent.

use std::time::Duration;

use serde_json::{Value, json};

/// What a person is asked about.
pub(super) const README: &str = "README.md";
const PROGRAM: &str = "src/greet.py";

/// The repository.
pub(super) const FILES: [(&str, &str); 3] = [
    (
        README,
        "# greet\n\n```console\n$ python3 src/greet.py Ada\nHelo, Ada!\n```\n",
    ),
    (
        PROGRAM,
        "import sys\n\n\ndef greet(name):\n    return f\"Helo, {name}!\"\n\n\nprint(greet(sys.argv[1]))\n",
    ),
    (
        "tests/test_greet.py",
        "from greet import greet\n\n\ndef test_greet():\n    assert greet(\"Ada\") == \"Hello, Ada!\"\n",
    ),
];

/// What it mends.
const WRONG: &str = "Helo";
const RIGHT: &str = "Hello";

/// What it looks for outside of the repository, as a model that was talked into it would.
const OUTSIDE: &str = "/etc/passwd";

const PLAN: [&str; 5] = [
    "read the repository",
    "mend the greeting",
    "look around outside",
    "tell readers about it",
    "have it reviewed, while there is money",
];

/// How often it would like to be told that its work is fine; the budget ends it before.
const REVIEWS: usize = 8;

/// The steps, for a repository in this directory; `pace` is how long it thinks between two, so that people can follow.
pub(super) fn of(repository: &str, pace: Duration) -> Value {
    let mut script = Script {
        repository,
        pace: json!({"pause": u64::try_from(pace.as_millis()).unwrap_or(u64::MAX)}),
        calls: 0,
        cents: 0,
        steps: Vec::new(),
    };
    script.plan(0);
    script.read(PROGRAM);
    script.read(README);
    script.spend(6);
    script.plan(1);
    let changed = script.edit(PROGRAM);
    script.steps.extend(changed);
    script.spend(5);
    script.plan(2);
    script.wander();
    script.plan(3);
    script.think("The README shows the old greeting; it should show the new one.");
    // The README is not among the files it may write: a person is asked.
    let changed = script.edit(README);
    script.steps.extend(changed);
    script.spend(4);
    script.plan(4);
    for round in 1..=REVIEWS {
        script.review(round);
    }
    Value::Array(script.steps)
}

struct Script<'r> {
    repository: &'r str,
    pace: Value,
    calls: usize,
    /// What it has cost until here.
    cents: u32,
    steps: Vec<Value>,
}

impl Script<'_> {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.repository)
    }

    fn update(kind: &str, mut members: Value) -> Value {
        members["sessionUpdate"] = json!(kind);
        json!({ "update": members })
    }

    /// The plan, with the step it is at.
    fn plan(&mut self, at: usize) {
        self.steps.push(self.pace.clone());
        let entries: Vec<_> = PLAN
            .iter()
            .enumerate()
            .map(|(number, what)| {
                let status = match number.cmp(&at) {
                    std::cmp::Ordering::Less => "completed",
                    std::cmp::Ordering::Equal => "in_progress",
                    std::cmp::Ordering::Greater => "pending",
                };
                json!({"content": what, "priority": "medium", "status": status})
            })
            .collect();
        self.steps
            .push(Self::update("plan", json!({"entries": entries})));
    }

    fn think(&mut self, what: &str) {
        self.steps.push(json!({"think": what}));
        self.steps.push(self.pace.clone());
    }

    /// What a model would have cost.
    fn spend(&mut self, cents: u32) {
        self.cents += cents;
        let so_far = f64::from(self.cents) / 100.0;
        self.steps.push(json!({"cost": [so_far, "USD"]}));
    }

    /// A tool call that begins; its name.
    fn call(
        &mut self,
        kind: &str,
        title: &str,
        input: Value,
        path: Option<&str>,
    ) -> (String, Value) {
        self.calls += 1;
        let id = format!("call-{}", self.calls);
        let places: Vec<_> = path.iter().map(|path| json!({"path": path})).collect();
        let call = json!({
            "toolCallId": id, "kind": kind, "title": title, "status": "in_progress", "locations": places, "rawInput": input,
        });
        (id, Self::update("tool_call", call))
    }

    fn ended(id: &str, status: &str, content: Value) -> Value {
        let members = json!({"toolCallId": id, "status": status, "content": [content]});
        Self::update("tool_call_update", members)
    }

    fn text(text: &str) -> Value {
        json!({"type": "content", "content": {"type": "text", "text": text}})
    }

    fn read(&mut self, name: &str) {
        let path = self.path(name);
        let title = format!("Read {name}");
        let (id, began) = self.call("read", &title, json!({"path": path}), Some(&path));
        let text = content(name);
        self.steps.extend([
            began,
            json!({
                "read": path,
                "then": [Self::ended(&id, "completed", Self::text(text))],
                "else": [Self::ended(&id, "failed", Self::text("it could not be read"))],
            }),
        ]);
    }

    /// Replaces a file, and shows the difference.
    fn edit(&mut self, name: &str) -> [Value; 2] {
        let path = self.path(name);
        let (before, after) = (content(name), content(name).replace(WRONG, RIGHT));
        let title = format!("Edit {name}");
        let (id, began) = self.call("edit", &title, json!({"path": path}), Some(&path));
        let diff = json!({"type": "diff", "path": path, "oldText": before, "newText": after});
        let refused = format!("I leave {name} as it is");
        let write = json!({
            "write": [path, after],
            "then": [Self::ended(&id, "completed", diff)],
            "else": [Self::ended(&id, "failed", Self::text("it may not be written")), {"say": refused}],
        });
        [began, write]
    }

    /// Asks for what it was not given. A refusal is no reason to give up.
    fn wander(&mut self) {
        let thought = format!("A comment in the code says that there is more in {OUTSIDE}.");
        self.think(&thought);
        let title = format!("Read {OUTSIDE}");
        let (id, began) = self.call("read", &title, json!({"path": OUTSIDE}), Some(OUTSIDE));
        self.steps.extend([
            began,
            json!({
                "read": OUTSIDE,
                "then": [Self::ended(&id, "completed", Self::text("nothing that is of use"))],
                "else": [Self::ended(&id, "failed", Self::text("that is not mine to read"))],
            }),
        ]);
    }

    /// Pays for a review.
    fn review(&mut self, round: usize) {
        self.steps.push(self.pace.clone());
        let input = json!({"path": self.path(PROGRAM), "round": round});
        let (id, began) = self.call("other", "review the style", input, None);
        let verdict = Self::text("fine");
        self.steps
            .extend([began, Self::ended(&id, "completed", verdict)]);
        self.spend(12);
    }
}

fn content(name: &str) -> &'static str {
    let file = FILES.iter().find(|(known, _)| *known == name);
    file.map_or("", |(_, text)| text)
}
