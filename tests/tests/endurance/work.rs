//! Jobs whose every event is known beforehand.

use serde_json::{Value, json};
use towline_tests::dice::Dice;

/// What to submit, and what has to come of it.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) agent: &'static str,
    pub(crate) input: Value,
}

impl Work {
    /// Some job of moderate length.
    pub(crate) fn any(dice: &mut Dice) -> Self {
        let (agent, input) = match dice.below(7) {
            0 => ("echo", json!({"value": dice.below(1000)})),
            1 => ("chatty", json!({"n": dice.below(20)})),
            2 => (
                "chatty",
                json!({"n": 1 + dice.below(10), "delay_ms": 1 + dice.below(10)}),
            ),
            3 => (
                "burst",
                json!({"n": dice.below(200), "bytes": 1 + dice.below(200)}),
            ),
            4 => (
                "stream",
                json!({"chunks": dice.below(6), "bytes": dice.below(500), "binary": dice.once_in(2)}),
            ),
            5 => ("sleep", json!({"ms": dice.below(100)})),
            _ => ("fail", json!({"message": "as told"})),
        };
        Self { agent, input }
    }

    /// The payload of its submit.
    pub(crate) fn submit(&self, key: &str) -> Value {
        json!({"agent": self.agent, "input": self.input, "idempotency_key": key})
    }

    /// What the job said is what it had to say, up to where it ended: all of it, if it ended by itself.
    ///
    /// # Panics
    /// When it is not.
    pub(crate) fn check(&self, events: &[Value], terminal: &Value) {
        let code = &terminal["code"];
        let whole = *code != "CANCELLED" && terminal["details"]["reason"] != "runtime_restarted";
        let logs: Vec<&str> = of_kind(events, "log")
            .filter_map(|body| body["message"].as_str())
            .collect();
        let n = |name: &str| usize::try_from(self.input[name].as_u64().unwrap_or(0)).unwrap_or(0);
        match self.agent {
            "chatty" => {
                let expected: Vec<String> = (1..=logs.len())
                    .map(|line| format!("line {line}"))
                    .collect();
                assert_eq!(logs, expected, "{self:?}");
                assert!(
                    !whole || logs.len() == n("n"),
                    "{self:?}: {} lines, then {terminal}",
                    logs.len()
                );
                assert!(
                    !whole || terminal["result"] == json!({"emitted": n("n")}),
                    "{terminal}"
                );
            }
            "burst" => {
                for (at, log) in logs.iter().enumerate() {
                    assert!(
                        log.starts_with(&(at + 1).to_string()),
                        "{self:?}: message {at} is {log}"
                    );
                }
                assert!(
                    !whole || logs.len() == n("n"),
                    "{self:?}: {} lines, then {terminal}",
                    logs.len()
                );
            }
            "stream" => {
                let chunks: Vec<&Value> = of_kind(events, "result_chunk").collect();
                assert!(
                    chunks
                        .iter()
                        .enumerate()
                        .all(|(at, chunk)| chunk["chunk_seq"] == at),
                    "{self:?}"
                );
                assert!(
                    !whole || terminal["result_size"] == n("chunks") * n("bytes"),
                    "{self:?}: {terminal}"
                );
                assert!(
                    !whole || chunks.last().is_some_and(|last| last["more"] == false),
                    "{self:?}: {chunks:?}"
                );
            }
            "echo" => assert!(
                !whole || terminal["result"] == self.input,
                "{self:?}: {terminal}"
            ),
            "sleep" => assert!(
                !whole || terminal["result"] == json!({"slept_ms": n("ms")}),
                "{self:?}: {terminal}"
            ),
            _ => assert!(
                !whole || terminal["message"] == "as told",
                "{self:?}: {terminal}"
            ),
        }
    }
}

fn of_kind<'e>(events: &'e [Value], kind: &'e str) -> impl Iterator<Item = &'e Value> {
    let payloads = events.iter().map(|event| &event["payload"]);
    payloads
        .filter(move |payload| payload["kind"] == kind)
        .map(|payload| &payload["body"])
}
