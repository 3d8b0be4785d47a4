//! A session of the kit's.

use std::{collections::VecDeque, time::Duration};

use serde_json::{Value, json};

use crate::{
    check::{Check, expect_refusal, fail, texts},
    link::{Came, Link},
};

/// From where a session is taken up.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) session: String,
    pub(crate) token: String,
    pub(crate) last: u64,
}

/// An open session: requests, replies, jobs. Pings are answered on the way.
pub(crate) struct Session {
    link: Link,
    pub(crate) id: String,
    /// The welcome's payload.
    pub(crate) welcome: Value,
    token: String,
    sent: u32,
    /// Frames that were passed over while waiting for a reply.
    held: VecDeque<Value>,
    last: u64,
}

impl Session {
    /// Says hello and waits for the welcome.
    pub(crate) async fn open(mut link: Link, hello: Value) -> Check<Self> {
        let resumed = &hello["payload"]["resume"]["last_event_seq"];
        let last = resumed
            .as_u64()
            .or_else(|| hello["payload"]["last_event_seq"].as_u64())
            .unwrap_or(0);
        link.send(hello).await?;
        let welcome = match link.receive().await? {
            Came::Frame(frame) => frame,
            Came::End => return fail("the connection was closed instead of a welcome"),
            Came::Nothing => return fail("the hello was not answered"),
        };
        if welcome["type"] != "session.welcome" {
            let payload = &welcome["payload"];
            return fail(format!(
                "the hello was answered with `{}` {}: {}",
                welcome["type"], payload["code"], payload["message"]
            ));
        }
        let Some(id) = welcome["session_id"].as_str().map(str::to_owned) else {
            return fail("the welcome's envelope has no `session_id`");
        };
        let payload = welcome["payload"].clone();
        let token = payload["resume_token"].as_str().unwrap_or_default();
        Ok(Self {
            link,
            id,
            token: token.to_owned(),
            welcome: payload,
            sent: 0,
            held: VecDeque::new(),
            last,
        })
    }

    pub(crate) fn features(&self) -> Vec<String> {
        texts(&self.welcome["capabilities"]["features"])
    }

    /// From where the session can be taken up.
    pub(crate) fn point(&self) -> Point {
        Point {
            session: self.id.clone(),
            token: self.token.clone(),
            last: self.last,
        }
    }

    /// Sends a message; gives its id.
    pub(crate) async fn send(&mut self, kind: &str, payload: Value) -> Check<String> {
        self.send_with(kind, payload, json!({})).await
    }

    /// Sends a message with more members on its envelope.
    pub(crate) async fn send_with(
        &mut self,
        kind: &str,
        payload: Value,
        more: Value,
    ) -> Check<String> {
        self.sent += 1;
        let id = format!("kit-{}-{}", self.link.conn(), self.sent);
        let mut frame = json!({"arcp": "1.1", "id": id, "type": kind, "session_id": self.id});
        if let (Value::Object(frame), Value::Object(more)) = (&mut frame, more) {
            frame.extend(more);
        }
        frame["payload"] = payload;
        self.link.send(frame).await?;
        Ok(id)
    }

    /// Sends a text that is no frame, or one spelled in a way of its own.
    pub(crate) async fn send_text(&mut self, text: &str) -> Check {
        self.link.send_text(text).await
    }

    /// The next frame that is no ping.
    pub(crate) async fn next(&mut self) -> Check<Value> {
        if let Some(frame) = self.held.pop_front() {
            return Ok(frame);
        }
        self.fresh().await
    }

    async fn fresh(&mut self) -> Check<Value> {
        match self.came().await? {
            Came::Frame(frame) => Ok(frame),
            Came::End => fail("the connection was closed"),
            Came::Nothing => fail("nothing came any more"),
        }
    }

    /// What comes next from the connection itself.
    pub(crate) async fn came(&mut self) -> Check<Came> {
        loop {
            let came = self.link.receive().await?;
            let Came::Frame(frame) = &came else {
                return Ok(came);
            };
            if let Some(seq) = frame["event_seq"].as_u64() {
                self.last = self.last.max(seq);
            }
            if frame["type"] != "session.ping" {
                return Ok(came);
            }
            let pong = json!({"ping_nonce": frame["payload"]["nonce"]});
            self.send("session.pong", pong).await?;
        }
    }

    /// Holds that nothing but heartbeats comes before the pong of a ping: what was sent before had no answer.
    pub(crate) async fn fence(&mut self) -> Check<Vec<Value>> {
        let nonce = format!("fence-{}", self.sent);
        self.send("session.ping", json!({"nonce": nonce})).await?;
        let mut before = Vec::new();
        loop {
            let frame = self.fresh().await?;
            if frame["type"] == "session.pong" && frame["payload"]["ping_nonce"] == nonce.as_str() {
                return Ok(before);
            }
            before.push(frame);
        }
    }

    /// The reply to a request: what names it, or, where nothing is named, the first frame of the right type. Other frames
    /// are kept for later.
    pub(crate) async fn reply(&mut self, request: &str, kind: &str) -> Check<Value> {
        loop {
            let frame = self.fresh().await?;
            if answers(&frame, request, kind) {
                self.link.notes().lock().watch.answered(request, &frame);
                return Ok(frame);
            }
            self.held.push_back(frame);
        }
    }

    /// Asks, and has to get this.
    pub(crate) async fn ask(&mut self, kind: &str, payload: Value, reply: &str) -> Check<Value> {
        let request = self.send(kind, payload).await?;
        let frame = self.reply(&request, reply).await?;
        if frame["type"] != reply {
            let payload = &frame["payload"];
            return fail(format!(
                "`{kind}` was answered with {} {}: {}",
                frame["type"], payload["code"], payload["message"]
            ));
        }
        Ok(frame)
    }

    /// Asks, and has to be refused with one of these codes; gives the refusal's payload.
    pub(crate) async fn refused(
        &mut self,
        kind: &str,
        payload: Value,
        codes: &[&str],
    ) -> Check<Value> {
        let request = self.send(kind, payload).await?;
        let frame = self.reply(&request, "session.error").await?;
        expect_refusal(&frame, codes)?;
        Ok(frame["payload"].clone())
    }

    /// Submits, and has to be accepted; gives the acceptance.
    pub(crate) async fn submit(&mut self, payload: Value) -> Check<Value> {
        self.ask("job.submit", payload, "job.accepted").await
    }

    /// Frames of a job up to its terminal.
    pub(crate) async fn until_end(&mut self, job: &str) -> Check<Vec<Value>> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await?;
            if frame["job_id"] != job {
                continue;
            }
            let kind = frame["type"].as_str().unwrap_or_default();
            let ended = kind == "job.result" || kind == "job.error";
            frames.push(frame);
            if ended {
                return Ok(frames);
            }
        }
    }

    /// Submits, and reads the job to its end.
    pub(crate) async fn run(&mut self, payload: Value) -> Check<Vec<Value>> {
        let accepted = self.submit(payload).await?;
        let job = job_of(&accepted)?;
        self.until_end(&job).await
    }

    /// Reads until this many events of a job came.
    pub(crate) async fn events(&mut self, job: &str, count: usize) -> Check<Vec<Value>> {
        let mut frames = Vec::new();
        while frames.len() < count {
            let frame = self.next().await?;
            if frame["job_id"] == job && frame["event_seq"].is_u64() {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    /// The connection breaks off.
    pub(crate) fn cut(self) -> Point {
        self.point()
    }

    /// The case is over.
    pub(crate) async fn done(mut self) -> Check {
        self.send("session.close", json!({})).await?;
        for _ in 0..64 {
            if !matches!(self.came().await?, Came::Frame(_)) {
                break;
            }
        }
        self.link.close().await;
        Ok(())
    }

    /// What comes within a time that is not long.
    pub(crate) async fn came_within(&mut self, patience: Duration) -> Check<Came> {
        self.link.receive_within(patience).await
    }
}

fn answers(frame: &Value, request: &str, kind: &str) -> bool {
    let is_reply = frame["type"] == kind || frame["type"] == "session.error";
    match frame["payload"]["request_id"].as_str() {
        Some(named) => is_reply && named == request,
        None => is_reply,
    }
}

/// The job of an acceptance.
pub(crate) fn job_of(accepted: &Value) -> Check<String> {
    let job = accepted["payload"]["job_id"]
        .as_str()
        .or_else(|| accepted["job_id"].as_str());
    match job {
        Some(job) => Ok(job.to_owned()),
        None => fail("the acceptance names no job"),
    }
}

/// The last frame of a job.
pub(crate) fn end_of(frames: &[Value]) -> &Value {
    frames.last().unwrap_or(&Value::Null)
}

/// The kinds of events of a job.
pub(crate) fn kinds_of(frames: &[Value]) -> Vec<&str> {
    frames
        .iter()
        .filter_map(|frame| frame["payload"]["kind"].as_str())
        .collect()
}
