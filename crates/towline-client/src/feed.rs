//! What a job handle and a subscription have in common: events, and then the outcome.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use towline_proto::{
    assembly::{Collected, Delivery},
    client::JobEnd,
};
use towline_wire::{Event, JobId, JobStatus, PayloadError};

use crate::{
    ClientError, JobEvent, JobOutput, Outcome,
    mailbox::{Mailbox, Taken, Wants},
};

/// Reads one mailbox.
#[derive(Debug)]
pub(crate) struct Feed {
    mailbox: Arc<Mailbox>,
    local: VecDeque<JobEvent>,
    collected: Collected,
    cap: u64,
    /// A chunk that could not be read.
    unreadable: Option<PayloadError>,
    end: Option<Arc<JobEnd>>,
    outcome: Option<Outcome>,
    streamed_inline: bool,
    /// The job was over before it was watched, so no end will come.
    ended_before: Option<JobStatus>,
}

impl Feed {
    pub(crate) fn new(mailbox: Arc<Mailbox>, cap: u64) -> Self {
        Self {
            mailbox,
            local: VecDeque::new(),
            collected: Collected::new(cap),
            cap,
            unreadable: None,
            end: None,
            outcome: None,
            streamed_inline: false,
            ended_before: None,
        }
    }

    pub(crate) fn ended_before(mut self, status: Option<JobStatus>) -> Self {
        self.ended_before = status;
        self
    }

    pub(crate) fn job(&self) -> &JobId {
        self.mailbox.job()
    }

    pub(crate) fn set_cap(&mut self, cap: u64) {
        self.cap = cap;
        self.collected.set_cap(cap);
    }

    pub(crate) fn set_buffer(&self, events: usize) {
        self.mailbox.set_limit(events);
    }

    pub(crate) fn discard_events(&mut self) {
        self.want(Wants::Outcome { cap: self.cap });
    }

    pub(crate) async fn next_event(&mut self) -> Result<Option<JobEvent>, ClientError> {
        poll_fn(|cx| self.poll_event(cx)).await.transpose()
    }

    /// `Ready(None)` once the job has ended and every event was given out.
    pub(crate) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<JobEvent, ClientError>>> {
        loop {
            if let Some(event) = self.local.pop_front() {
                self.mailbox.gave(&event);
                if event.is_chunk() {
                    self.collect(&event);
                }
                return Poll::Ready(Some(Ok(event)));
            }
            if self.end.is_some() || self.ended_before.is_some() {
                return Poll::Ready(None);
            }
            match ready!(self.mailbox.poll_take(&mut self.local, cx)) {
                Taken::Events => {}
                Taken::End(end) => self.end = Some(end),
                Taken::TooBig => self.collected.fail_too_big(),
                Taken::Trouble(trouble) => return Poll::Ready(Some(Err(trouble))),
            }
        }
    }

    fn collect(&mut self, event: &JobEvent) {
        match event.event() {
            // What breaks the result is kept by the collection, and said when somebody asks for it.
            Ok(Event::ResultChunk(chunk)) => drop(self.collected.push(chunk)),
            Ok(_) => {}
            Err(cause) => self.unreadable = Some(cause),
        }
    }

    pub(crate) async fn outcome(&mut self) -> Result<Outcome, ClientError> {
        if let Some(outcome) = &self.outcome {
            return Ok(outcome.clone());
        }
        self.want(Wants::Outcome { cap: self.cap });
        while self.next_event().await?.is_some() {}
        let end = self.ending()?;
        self.check_chunks()?;
        let outcome = Outcome::conclude(&end, &mut self.collected)?;
        Ok(self.outcome.insert(outcome).clone())
    }

    /// The next piece of the result; `None` once it was whole.
    pub(crate) async fn next_piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.want(Wants::Chunks);
        loop {
            if let Some(piece) = self.collected.pop() {
                return Ok(Some(piece));
            }
            self.check_chunks()?;
            if self.next_event().await?.is_none() {
                return self.last_piece();
            }
        }
    }

    fn last_piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.streamed_inline {
            return Ok(None);
        }
        let end = self.ending()?;
        let success = match &*end {
            JobEnd::Result(result) if result.final_status == JobStatus::Success => result,
            other => {
                return Outcome::conclude(other, &mut self.collected)?
                    .into_success()
                    .map(|_| None);
            }
        };
        match self.collected.finish(success)? {
            (Delivery::Streamed { .. }, rest) => Ok((!rest.is_empty()).then_some(rest)),
            (Delivery::Inline, _) => {
                self.streamed_inline = true;
                let bytes = JobOutput::inline(success).to_bytes()?;
                Ok((!bytes.is_empty()).then_some(bytes))
            }
        }
    }

    fn ending(&self) -> Result<Arc<JobEnd>, ClientError> {
        let already = |status| ClientError::AlreadyEnded {
            job: self.job().clone(),
            status,
        };
        let ended = self.end.clone();
        ended.ok_or_else(|| already(self.ended_before.unwrap_or(JobStatus::Error)))
    }

    /// Says at once what cannot be mended any more.
    fn check_chunks(&self) -> Result<(), ClientError> {
        if let Some(cause) = &self.unreadable {
            return Err(ClientError::Unreadable(cause.clone()));
        }
        self.collected
            .failure()
            .map_or(Ok(()), |cause| Err(ClientError::Result(cause.clone())))
    }

    fn want(&mut self, wants: Wants) {
        self.mailbox.want(wants);
        if wants != Wants::Events {
            self.local.retain(JobEvent::is_chunk);
            if self.local.is_empty() {
                self.mailbox.gave_all();
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}
