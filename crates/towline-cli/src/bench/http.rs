//! The same over plain HTTP: submits that wait for their end, and a job's events as server-sent events. Each request has a
//! connection of its own, as the server has it.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    report::Report,
    scenarios::{EVENTS, IN_FLIGHT, Load, MESSAGE_BYTES, check, lost, rate},
    server::{TOKEN, web_client},
};
use crate::failure::{Failure, Outcome, chain};

impl Load<'_> {
    pub(super) async fn http(&self, report: &mut Report) -> Outcome<()> {
        let web = Web {
            client: web_client()?,
            base: self.server.web(),
        };
        let count = self.count.unwrap_or(2000);
        let mut times = Vec::new();
        for _ in 0..count {
            times.push(web.echo().await?);
        }
        report.add_tail("http: submit to result, one at a time", times);
        let each = (count / IN_FLIGHT).max(1);
        let started = Instant::now();
        let mut lanes = JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let web = web.clone();
            lanes.spawn(async move {
                for _ in 0..each {
                    web.echo().await?;
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(lane) = lanes.join_next().await {
            lane.map_err(lost)??;
        }
        report.add(
            "http: submit to result, 32 in flight",
            "jobs/s",
            rate(each * IN_FLIGHT, started),
        );
        let events = self.count.unwrap_or(EVENTS / 5);
        let input = json!({"n": events, "bytes": MESSAGE_BYTES});
        let job = web.submit("burst", &input, None).await?;
        let started = Instant::now();
        let seen = web
            .events(job["job_id"].as_str().unwrap_or_default())
            .await?;
        report.add(
            "http: events of one job to one client (SSE)",
            "events/s",
            rate(seen, started),
        );
        check(seen, events)
    }
}

#[derive(Clone)]
struct Web {
    client: reqwest::Client,
    base: String,
}

impl Web {
    /// A job that gives its input back; how many milliseconds it took.
    async fn echo(&self) -> Outcome<f64> {
        let started = Instant::now();
        let job = self
            .submit("echo", &json!({"hi": 1}), Some("wait=30"))
            .await?;
        if job["status"] != "success" {
            return Err(Failure::local(format!("the job did not succeed: {job}")));
        }
        Ok(started.elapsed().as_secs_f64() * 1000.0)
    }

    async fn submit(&self, agent: &str, input: &Value, prefer: Option<&str>) -> Outcome<Value> {
        let body = json!({"agent": agent, "input": input}).to_string();
        let mut request = self
            .client
            .post(format!("{}/v1/jobs", self.base))
            .bearer_auth(format!("{TOKEN}-0"))
            .header("content-type", "application/json")
            .body(body);
        if let Some(prefer) = prefer {
            request = request.header("prefer", prefer);
        }
        let answer = request.send().await.map_err(broken)?;
        let text = answer.text().await.map_err(broken)?;
        serde_json::from_str(&text).map_err(|error| Failure::local(error.to_string()))
    }

    /// How many events a job's stream has until it ends.
    async fn events(&self, job: &str) -> Outcome<u64> {
        let request = self
            .client
            .get(format!("{}/v1/jobs/{job}/events", self.base))
            .bearer_auth(format!("{TOKEN}-0"))
            .header("accept", "text/event-stream");
        let mut answer = request.send().await.map_err(broken)?;
        let (mut seen, mut last) = (0, 0);
        while let Some(piece) = answer.chunk().await.map_err(broken)? {
            // An event ends with an empty line; in a text of JSON there is none.
            for byte in piece {
                seen += u64::from(byte == b'\n' && last == b'\n');
                last = byte;
            }
        }
        Ok(seen)
    }
}

fn broken(error: reqwest::Error) -> Failure {
    Failure::local(chain(&error))
}
