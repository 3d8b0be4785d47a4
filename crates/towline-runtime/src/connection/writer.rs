//! What a peer is sent, at the speed it reads.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;
use towline_proto::{
    Dialect,
    outbox::Run,
    refusal::Refusal,
    server::{Cursor, FLUSH_FRAMES, Step},
    span::{RecordKind, SpanView},
};
use towline_store::{Block, StoreError};
use towline_transport::{FrameSink, TransportError};
use towline_wire::{Envelope, ErrorCode, EventSeq, JobId, JobSeq, RawJson};

use super::{
    fit::{fit, leaves_event},
    frames::{JobFrames, Stamp},
    goodbye::close_frame,
    size::{limit_of, within},
};
use crate::hub::Hub;
use crate::session::{Attachment, DetachReason, Reply, SessionEntry};

/// The one that sends on a connection. It holds a position in the session's stream, not a queue.
///
/// In this order: pongs and pings, replies, events; it flushes when it has nothing more, or after a good many frames.
pub(super) struct Writer {
    hub: Arc<Hub>,
    session: Arc<SessionEntry>,
    attachment: Arc<Attachment>,
    sink: Box<dyn FrameSink>,
    dialect: Dialect,
    /// The largest payload the client reads.
    limit: Option<usize>,
    cursor: Cursor,
    /// Jobs of this session whose `job.accepted` went out on this connection.
    announced: HashSet<JobId>,
    /// The job whose events were sent last. Boxed: a writer that has sent none stays small.
    current: Option<Box<JobFrames>>,
    /// The block they were in.
    block: Option<Arc<Block>>,
    started: Instant,
}

/// Why the writer ends.
enum End {
    /// The goodbye is out.
    Done,
    /// The peer is gone.
    Lost(TransportError),
    /// The stream cannot go on; the reader was told, and will have the goodbye said.
    Broken,
}

impl From<TransportError> for End {
    fn from(error: TransportError) -> Self {
        Self::Lost(error)
    }
}

impl Writer {
    pub(super) fn new(
        hub: &Arc<Hub>,
        session: &Arc<SessionEntry>,
        attachment: &Arc<Attachment>,
        sink: Box<dyn FrameSink>,
        position: EventSeq,
    ) -> Self {
        let dialect = session.lock().dialect;
        Self {
            hub: Arc::clone(hub),
            session: Arc::clone(session),
            attachment: Arc::clone(attachment),
            sink,
            dialect,
            limit: limit_of(dialect, attachment.kind),
            cursor: Cursor::new(position),
            announced: HashSet::new(),
            current: None,
            block: None,
            started: Instant::now(),
        }
    }

    /// The moment this connection's times are counted from.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Sends until the goodbye, or until the peer is gone. The future of a step is large, so it is boxed for as long as the
    /// step takes, and the writer comes boxed too: the task of a connection that has nothing to send stays small.
    pub(super) async fn run(mut self: Box<Self>) {
        let error = loop {
            let carried_out = match self.next() {
                Step::Rest => {
                    self.attachment.wake.notified().await;
                    continue;
                }
                step => Box::pin(self.carry_out(step)).await,
            };
            match carried_out {
                Ok(()) => {}
                Err(End::Done) => return,
                Err(End::Lost(error)) => break error,
                Err(End::Broken) => match Box::pin(self.last_words()).await {
                    Err(End::Lost(error)) => break error,
                    _ => return,
                },
            }
        };
        tracing::debug!(target: "towline::session", session = %self.session.id, %error, "sending failed");
    }

    /// Waits for the goodbye and says it, and nothing else.
    async fn last_words(&mut self) -> Result<(), End> {
        loop {
            let farewell = self.attachment.replies.lock().say_farewell();
            if let Some(farewell) = farewell {
                return self.carry_out(Step::Goodbye(farewell)).await;
            }
            self.attachment.wake.notified().await;
        }
    }

    fn next(&mut self) -> Step {
        self.attachment.look_up();
        let state = self.session.lock();
        let mut replies = self.attachment.replies.lock();
        state.stream.next(&mut self.cursor, &mut replies)
    }

    async fn carry_out(&mut self, step: Step) -> Result<(), End> {
        match step {
            Step::Urgent(envelope) => self.feed_own(envelope).await?,
            Step::Reply(reply) => self.reply(reply).await?,
            Step::Events(run) => self.events(run).await?,
            Step::Evicted => return Err(self.broken(evicted())),
            Step::Flush => self.flush().await?,
            Step::Rest | Step::Again => tokio::task::yield_now().await,
            Step::Goodbye(farewell) => {
                let frame = close_frame(farewell.goodbye, &farewell.reason);
                if let Some(last) = farewell.last {
                    self.feed_own(last).await?;
                }
                self.sink.close(&frame).await?;
                return Err(End::Done);
            }
        }
        if self.cursor.is_full() {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends an envelope that is no event: it gets its id and its session here.
    async fn feed_own(&mut self, mut envelope: Envelope) -> Result<(), End> {
        envelope.id = Some(self.hub.services.ids.message());
        envelope.session_id = Some(self.session.id.clone());
        self.feed(envelope).await
    }

    async fn feed(&mut self, envelope: Envelope) -> Result<(), End> {
        let envelope = within(fit(envelope, self.dialect), self.limit);
        let fed = self.sink.feed(envelope).await;
        self.fed(fed)
    }

    fn fed(&mut self, fed: Result<(), TransportError>) -> Result<(), End> {
        if let Err(TransportError::FrameTooBig { size, limit }) = fed {
            // Leaving it out would be a gap; the peer has to know.
            let message =
                format!("a frame of {size} bytes is above the {limit} this transport carries");
            return Err(self.broken(Refusal::internal(message)));
        }
        fed?;
        self.cursor.fed();
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), End> {
        self.sink.flush().await?;
        self.cursor.flushed();
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.attachment.sent_at.store(at, Ordering::Relaxed);
        self.note_progress();
        Ok(())
    }

    /// Notes how far the peer was sent its stream, for acknowledgements and for telling lag.
    fn note_progress(&self) {
        let lag = {
            let mut state = self.session.lock();
            let news =
                state.is_attached(&self.attachment) && state.stream.flushed(self.cursor.position());
            if !news {
                return;
            }
            state.pressure(self.hub.services.options.back_pressure)
        };
        if let Some(lag) = lag {
            self.hub.report_pressure(&self.session, lag);
        }
    }

    async fn reply(&mut self, reply: Reply) -> Result<(), End> {
        self.attachment.room.notify_one();
        if let Some(job) = reply.announces {
            self.announced.insert(job);
        }
        if let Some(envelope) = reply.envelope {
            self.feed_own(envelope).await?;
        }
        if let Some(number) = reply.repeats {
            Box::pin(self.repeat(number)).await?;
        }
        if reply.pause {
            self.flush().await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Sends an event that this connection has had once more [ARCP 7.2-1]. Where it cannot be read any more the client is
    /// where it would be with a runtime that repeats nothing.
    async fn repeat(&mut self, number: EventSeq) -> Result<(), End> {
        if number > self.cursor.position() {
            return Ok(());
        }
        let Some(run) = self.session.lock().stream.event(number) else {
            return Ok(());
        };
        let Ok(Some(block)) = self.hub.block(&run.job, run.from).await else {
            return Ok(());
        };
        let Ok(frames) = JobFrames::load(&self.hub, &self.session, &run.job).await else {
            return Ok(());
        };
        let Some((kind, payload)) = block.payload(run.from) else {
            return Ok(());
        };
        debug_assert!(kind.is_terminal(), "only an end is sent once more");
        let mut end = if frames.needs_more(kind, run.view) {
            frames
                .special(&self.hub, &self.session, kind, payload)
                .await
        } else {
            frames.plain(kind, payload)
        };
        // One SDK's client waits for the end and drops numbers that it knows.
        if !self.dialect.waits_for_the_end_of_known_jobs() {
            end.event_seq = Some(number);
            end.job_seq = Some(run.from);
        }
        self.feed_own(end).await
    }

    /// Sends a part of a run of events: what one block of the job's log holds of it.
    async fn events(&mut self, run: Run) -> Result<(), End> {
        let block = self.block_of(&run.job, run.from).await?;
        self.prepare(&run).await?;
        // Taken, so that the frames can be borrowed from it while the rest of the writer changes.
        let Some(frames) = self.current.take() else {
            return Ok(());
        };
        let sent = self.records(&frames, &block, &run).await;
        self.current = Some(frames);
        sent
    }

    async fn records(&mut self, frames: &JobFrames, block: &Block, run: &Run) -> Result<(), End> {
        let last = run.from.plus(u64::from(run.count) - 1).min(block.last());
        let count = usize::try_from(last.since(run.from) + 1)
            .unwrap_or(1)
            .min(FLUSH_FRAMES);
        let mut ids = self.hub.services.ids.messages(count);
        // Before the peer can see them: it may acknowledge, or come back with, what it was sent before the flush was over.
        let last = run.first.plus(count as u64 - 1);
        self.session.lock().stream.offer(last);
        for (offset, id) in (0..count as u64).zip(&mut ids) {
            let (job_seq, event_seq) = (run.from.plus(offset), run.first.plus(offset));
            let Some((kind, payload)) = block.payload(job_seq) else {
                break;
            };
            let stamp = Stamp {
                id,
                event_seq,
                job_seq,
            };
            self.record(frames, kind, payload, run.view, stamp).await?;
            self.cursor.advance(event_seq);
            if kind.is_terminal() {
                self.announced.remove(&run.job);
            }
            // A pong, or a goodbye, does not wait for the rest of the run [ARCP 5-11].
            if self.attachment.is_interrupted() {
                break;
            }
        }
        Ok(())
    }

    async fn record(
        &mut self,
        frames: &JobFrames,
        kind: RecordKind,
        payload: RawJson,
        view: SpanView,
        stamp: Stamp,
    ) -> Result<(), End> {
        let needs_more = frames.needs_more(kind, view);
        let as_it_is = !needs_more
            && !kind.is_terminal()
            && leaves_event(self.dialect, &payload)
            && self
                .limit
                .is_none_or(|limit| payload.as_str().len() <= limit);
        if as_it_is {
            let fed = self.sink.feed_event(&frames.event(payload, stamp)).await;
            return self.fed(fed);
        }
        let mut envelope = if needs_more {
            // Rare, and large: a silent writer does not hold the room for it.
            Box::pin(frames.special(&self.hub, &self.session, kind, payload)).await
        } else {
            frames.plain(kind, payload)
        };
        envelope.id = Some(stamp.id);
        envelope.job_seq = Some(stamp.job_seq);
        envelope.event_seq = Some(stamp.event_seq);
        self.feed(envelope).await
    }

    /// Makes the run's job the current one, and announces it where that has not been done on this connection
    /// [ARCP 6.3-3, 10-1].
    async fn prepare(&mut self, run: &Run) -> Result<(), End> {
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.job() != &run.job)
        {
            match Box::pin(JobFrames::load(&self.hub, &self.session, &run.job)).await {
                Ok(frames) => self.current = Some(Box::new(frames)),
                Err(error) => return Err(self.unreadable(&error)),
            }
        }
        let Some(frames) = self.current.as_ref().filter(|frames| frames.is_own()) else {
            return Ok(());
        };
        if self.announced.contains(&run.job)
            || run.view.replayed
            || self.dialect.takes_acceptances_in_order()
        {
            return Ok(());
        }
        let accepted = frames.accepted(&self.hub, &self.session);
        self.announced.insert(run.job.clone());
        self.feed_own(accepted).await
    }

    /// The block of a record.
    async fn block_of(&mut self, job: &JobId, seq: JobSeq) -> Result<Arc<Block>, End> {
        let cached = self
            .block
            .as_ref()
            .filter(|block| block.job() == job && block.first() <= seq && seq <= block.last());
        if let Some(block) = cached {
            return Ok(Arc::clone(block));
        }
        match self.hub.block(job, seq).await {
            Ok(Some(block)) => {
                self.block = Some(Arc::clone(&block));
                Ok(block)
            }
            Ok(None) => {
                let from = seq;
                Err(self.unreadable(&StoreError::Evicted {
                    job: job.clone(),
                    from,
                    oldest: from,
                }))
            }
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    /// The stream cannot go on without a gap, so the connection ends; a resume says whether it can be healed.
    fn unreadable(&self, error: &StoreError) -> End {
        tracing::error!(target: "towline::session", session = %self.session.id, %error, "the stream cannot go on");
        let refusal = match error {
            StoreError::Evicted { .. } => {
                self.hub.evict(
                    &self.session,
                    self.cursor.position().next(),
                    "the store no longer has the events",
                );
                evicted()
            }
            _ => Refusal::internal("the runtime's store failed; resume the session"),
        };
        self.broken(refusal)
    }

    fn broken(&self, refusal: Refusal) -> End {
        self.attachment.detach(DetachReason::Broken(refusal));
        End::Broken
    }
}

/// There would be a gap, which is never silent [ARCP 6.5-2].
fn evicted() -> Refusal {
    Refusal::new(
        ErrorCode::RESUME_WINDOW_EXPIRED,
        "events of this session are no longer kept; open a new session",
    )
}

/// One SDK's client loses events that follow `job.subscribed` in the same moment.
const PAUSE: Duration = Duration::from_millis(2);
