//! What somebody tries to do with what is ann's, by one of the ways in.

use serde_json::{Value, json};

use super::scene::Scene;

/// The ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Program,
    Http,
    Mcp,
}

/// Somebody, on one of the ways in.
pub(super) struct Try<'s> {
    pub(super) scene: &'s Scene,
    pub(super) way: Way,
    pub(super) who: &'s str,
}

impl Try<'_> {
    /// Whether it may be done; nothing where the way has no verb for it. What is done once is done to something new each time.
    pub(super) fn may(&self, what: &str) -> Option<bool> {
        let done = &self.scene.done;
        match what {
            "list the job" => self.is_listed(&["jobs"], "/v1/jobs", Some("jobs"), done),
            "read its input, events and result" => Some(self.read()),
            "see its questions in the inbox" => {
                let (job, _) = self.scene.asks();
                self.is_listed(&["inbox"], "/v1/inbox", None, &job)
            }
            "answer them" => Some(self.answer()),
            "speak to it" => self.speak(),
            "cancel it" => Some(self.cancel()),
            "run it once more" => self.rerun(),
            "list its webhook messages" => {
                self.is_listed(&["webhooks"], "/v1/webhooks", None, done)
            }
            "have one delivered once more" => self.redeliver(),
            "list, run, pause and resume the schedule" => self.turn(),
            "end the sessions of a principal" => {
                let revoke = ["sessions", "revoke", "zoe"];
                (self.way == Way::Program).then(|| self.program(&revoke))
            }
            other => panic!("nothing tries `{other}`"),
        }
    }

    fn program(&self, args: &[&str]) -> bool {
        self.scene.program(self.who, args).status == 0
    }

    fn http(&self, method: &str, path: &str, body: Option<Value>) -> bool {
        let (status, answer) = self.scene.http(self.who, method, path, body);
        let is_fault = status == 400 || status >= 500;
        assert!(!is_fault, "{method} {path}: {status} {answer}");
        status < 300
    }

    fn post(&self, path: &str, body: Value) -> bool {
        self.http("POST", path, Some(body))
    }

    fn tool(&self, tool: &str, arguments: Value) -> bool {
        self.scene.tool(self.who, tool, arguments)["isError"] == false
    }

    /// Whether a list holds something.
    fn is_listed(
        &self,
        command: &[&str],
        path: &str,
        tool: Option<&str>,
        part: &str,
    ) -> Option<bool> {
        let said = match self.way {
            Way::Program => {
                let json = [command, &["-o", "json"]].concat();
                self.scene.program(self.who, &json).ok().stdout
            }
            Way::Http => self.scene.http(self.who, "GET", path, None).1.to_string(),
            Way::Mcp => self.scene.tool(self.who, tool?, json!({})).to_string(),
        };
        Some(said.contains(part))
    }

    fn read(&self) -> bool {
        let done = &self.scene.done;
        let job = json!({"job_id": done});
        let path = format!("/v1/jobs/{done}");
        agreed(&match self.way {
            Way::Program => {
                let got = self.scene.program(self.who, &["get", done, "-o", "json"]);
                [
                    got.stdout.contains("given"),
                    self.program(&["watch", done]),
                    self.program(&["result", done]),
                ]
            }
            Way::Http => {
                let (_, got) = self.scene.http(self.who, "GET", &path, None);
                [
                    got.to_string().contains("given"),
                    self.http("GET", &format!("{path}/events"), None),
                    self.http("GET", &format!("{path}/result"), None),
                ]
            }
            Way::Mcp => [
                self.tool("job_get", job.clone()),
                self.tool("job_wait", job.clone()),
                self.tool("job_events", job),
            ],
        })
    }

    fn answer(&self) -> bool {
        let (job, question) = self.scene.asks();
        let answer = json!({"question_id": question, "answer": "so"});
        match self.way {
            Way::Program => {
                self.program(&["answer", &job, "--question", &question, "--text", "so"])
            }
            Way::Http => self.post(&format!("/v1/jobs/{job}/answer"), answer),
            Way::Mcp => {
                let answer = json!({"job_id": job, "question_id": question, "answer": "so"});
                self.tool("job_answer", answer)
            }
        }
    }

    fn speak(&self) -> Option<bool> {
        let job = self.scene.begins("listen", json!({"n": 1}));
        match self.way {
            Way::Program => Some(self.program(&["say", &job, "so"])),
            Way::Http => {
                let said = json!({"body": "so"});
                Some(self.post(&format!("/v1/jobs/{job}/messages"), said))
            }
            Way::Mcp => None,
        }
    }

    fn cancel(&self) -> bool {
        let job = self.scene.begins("sleep", json!({"ms": 3_600_000}));
        match self.way {
            Way::Program => self.program(&["cancel", &job]),
            Way::Http => self.post(&format!("/v1/jobs/{job}/cancel"), json!({})),
            Way::Mcp => self.tool("job_cancel", json!({"job_id": job})),
        }
    }

    fn rerun(&self) -> Option<bool> {
        let done = &self.scene.done;
        match self.way {
            Way::Program => Some(self.program(&["rerun", done])),
            Way::Http => {
                let again = json!({"agent": "echo", "rerun_of": done});
                Some(self.post("/v1/jobs", again))
            }
            Way::Mcp => None,
        }
    }

    fn redeliver(&self) -> Option<bool> {
        let id = self.scene.webhook("ann").unwrap();
        match self.way {
            Way::Program => Some(self.program(&["webhooks", "redeliver", &id])),
            Way::Http => Some(self.http("POST", &format!("/v1/webhooks/{id}/redeliver"), None)),
            Way::Mcp => None,
        }
    }

    /// Looks at the schedule, and says what becomes of it.
    fn turn(&self) -> Option<bool> {
        let is_listed = self.is_listed(&["schedule", "ls"], "/v1/schedules", None, "hers")?;
        let turned = ["run", "pause", "resume"].map(|turn| match self.way {
            Way::Program => self.program(&["schedule", turn, "hers"]),
            _ => self.http("POST", &format!("/v1/schedules/hers/{turn}"), None),
        });
        Some(agreed(&[is_listed, turned[0], turned[1], turned[2]]))
    }
}

/// What is one line of the table has one answer.
#[track_caller]
fn agreed(answers: &[bool]) -> bool {
    let same = answers.windows(2).all(|pair| pair[0] == pair[1]);
    assert!(same, "{answers:?}");
    answers[0]
}
