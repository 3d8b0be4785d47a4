//! What a peer sends, once its session stands.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use towline_proto::{
    Dialect,
    heartbeat::{Beat, Heartbeat},
    refusal::Refusal,
    server::{Effect, Goodbye, Idle, ServerSession},
};
use towline_transport::{Closed, FrameSink, FrameSource, Inbound, TransportKind};
use towline_wire::{ErrorCode, EventSeq, Feature, MessageId, payload};
use tracing::Instrument as _;

use super::{fit::unfit, goodbye::linger, handshake::Live, worker::Worker, writer::Writer};
use crate::{
    command::{Asker, Way, envelope, unproved},
    hub::Hub,
    session::{Attachment, DetachReason, Farewell, SessionEntry},
    trace,
};

/// Runs a live connection to its end. What it needs is put together before the future begins, which then holds each of it
/// once: it is most of what a silent session takes.
pub(super) fn run(
    hub: Arc<Hub>,
    live: Live,
    sink: Box<dyn FrameSink>,
    mut source: Box<dyn FrameSource>,
) -> impl Future<Output = ()> + Send {
    let Live { machine, opened } = live;
    let (session, attachment) = (opened.session, opened.attachment);
    let writer = Writer::new(&hub, &session, &attachment, sink, opened.position);
    let started = writer.started();
    let mut writing = hub.scope.tasks.spawn(Box::new(writer).run());
    let features = machine.features();
    let heartbeat = features
        .has(Feature::Heartbeat)
        .then(|| Heartbeat::new(hub.services.options.heartbeat, started.elapsed()));
    let dialect = session.lock().dialect;
    let idle = Idle::new(hub.services.options.idle_timeout, started.elapsed());
    let span = trace::of_session(&session);
    let mut reader = Reader {
        hub,
        dialect,
        session,
        attachment,
        machine,
        worker: Worker::default(),
        heartbeat,
        idle,
        started,
    };
    async move {
        reader.read(source.as_mut(), &mut writing).await;
        // Large, and only for the end.
        Box::pin(reader.end(source.as_mut(), &mut writing)).await;
    }
    .instrument(span)
}

struct Reader {
    hub: Arc<Hub>,
    session: Arc<SessionEntry>,
    attachment: Arc<Attachment>,
    machine: ServerSession,
    dialect: Dialect,
    worker: Worker,
    heartbeat: Option<Heartbeat>,
    idle: Idle,
    started: Instant,
}

/// What can happen to a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the common one, and it is moved once"
)]
enum Happening {
    Inbound(Option<Inbound>),
    Detached,
    Beat,
    Room,
    WriterEnded,
}

/// Whether the connection goes on.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    /// The peer has said all it will, and reads on.
    Finishing,
    /// The peer has said all it will, and may or may not be there.
    Answering,
    /// The writer was told to say goodbye.
    Closing,
    /// The transport is gone.
    Lost,
}

impl Reader {
    async fn read(&mut self, source: &mut dyn FrameSource, writing: &mut JoinHandle<()>) {
        loop {
            let happening = self.next(source, writing).await;
            match self.handle(happening) {
                Flow::On => {}
                Flow::Finishing => return Box::pin(self.finish(writing)).await,
                Flow::Answering => return Box::pin(self.answer(writing)).await,
                Flow::Closing | Flow::Lost => return,
            }
        }
    }

    /// What was asked before the end of the peer's output is done, and what that brings is sent, within the time that jobs
    /// have at a shutdown.
    async fn finish(&mut self, writing: &mut JoinHandle<()>) {
        let (hub, session) = (Arc::clone(&self.hub), Arc::clone(&self.session));
        let attachment = Arc::clone(&self.attachment);
        let settled = hub.settled(&session, &attachment);
        if !self.leave_after(settled, writing).await {
            // Jobs that go on after that do so without this connection [ARCP 6.7-2], and a shutdown gives them no more time.
            hub.has_waited_for(&session);
        }
    }

    /// What was asked before the end of the peer's output is answered. A socket that was closed and one that was closed halfway
    /// look the same, so jobs are not waited for: the session can be taken up again.
    async fn answer(&mut self, writing: &mut JoinHandle<()>) {
        let (hub, attachment) = (Arc::clone(&self.hub), Arc::clone(&self.attachment));
        self.leave_after(hub.answered(&attachment), writing).await;
    }

    /// Goes when something is done, or the time is up that jobs have at a shutdown; says whether it was done.
    async fn leave_after(
        &mut self,
        done: impl Future<Output = ()>,
        writing: &mut JoinHandle<()>,
    ) -> bool {
        let done = timeout(self.hub.services.options.drain, done);
        tokio::select! {
            biased;
            () = self.attachment.detach.cancelled() => {
                self.on_detached();
                true
            }
            _ = writing => true,
            done = done => {
                self.leave();
                done.is_ok()
            }
        }
    }

    /// Goes without a word, as the peer did; everything that is queued goes out first.
    fn leave(&self) {
        self.attachment.close(Farewell {
            last: None,
            goodbye: Goodbye::Normal,
            reason: "end of input".to_owned(),
            drain: true,
        });
    }

    async fn next(
        &mut self,
        source: &mut dyn FrameSource,
        writing: &mut JoinHandle<()>,
    ) -> Happening {
        let has_room =
            self.attachment.replies.lock().waiting() < self.hub.services.options.requests_in_flight;
        let beat = self.beat_in();
        tokio::select! {
            biased;
            () = self.attachment.detach.cancelled() => Happening::Detached,
            inbound = source.receive(), if has_room => Happening::Inbound(inbound),
            () = self.attachment.room.notified(), if !has_room => Happening::Room,
            () = tokio::time::sleep(beat) => Happening::Beat,
            _ = writing => Happening::WriterEnded,
        }
    }

    /// How long until the heartbeat, or the idleness of the session, has something to say.
    fn beat_in(&mut self) -> Duration {
        let now = self.started.elapsed();
        let sent = Duration::from_millis(self.attachment.sent_at.load(Ordering::Relaxed));
        let beat = self.heartbeat.as_mut().map(|heartbeat| {
            heartbeat.sent_at_least(sent);
            heartbeat.deadline()
        });
        let idle = self.idle.deadline();
        beat.map_or(idle, |beat| beat.min(idle)).saturating_sub(now)
    }

    fn handle(&mut self, happening: Happening) -> Flow {
        match happening {
            // Of a pair of streams each ends by itself.
            Happening::Inbound(Some(Inbound::Closed(Closed::ByPeer(None))))
                if self.attachment.kind == TransportKind::Stdio =>
            {
                Flow::Finishing
            }
            Happening::Inbound(Some(Inbound::Closed(Closed::Ended))) => Flow::Answering,
            Happening::Inbound(None | Some(Inbound::Closed(_))) | Happening::WriterEnded => {
                Flow::Lost
            }
            Happening::Inbound(Some(inbound)) => self.on_inbound(inbound),
            Happening::Detached => self.on_detached(),
            Happening::Beat => self.on_beat(),
            // While nothing is read nothing can be heard; that is no silence of the peer's.
            Happening::Room => {
                let now = self.started.elapsed();
                if let Some(heartbeat) = &mut self.heartbeat {
                    heartbeat.heard(now);
                }
                Flow::On
            }
        }
    }

    fn on_inbound(&mut self, inbound: Inbound) -> Flow {
        let now = self.started.elapsed();
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.heard(now);
        }
        // What keeps a transport alive is no word of the client's.
        if !matches!(inbound, Inbound::Alive | Inbound::Closed(_)) && self.attachment.hear() {
            self.hub.heard(&self.session, &self.attachment);
        }
        let effect = match inbound {
            Inbound::Envelope(envelope) => {
                self.idle.heard(&envelope.kind, now);
                self.machine.on_frame(unfit(envelope, self.dialect))
            }
            Inbound::Malformed(error) => self.machine.on_malformed(&error),
            Inbound::TooBig { limit, fatal } => self.machine.on_too_big(limit, fatal),
            // What else a transport may come to report says no more than that the peer lives.
            _ => Effect::None,
        };
        self.carry_out(effect)
    }

    fn carry_out(&mut self, effect: Effect) -> Flow {
        match effect {
            Effect::Pong { nonce } => {
                let pong = payload::Pong {
                    ping_nonce: nonce,
                    received_at: Some(self.hub.now()),
                };
                self.attachment.push_urgent(envelope(&pong));
            }
            Effect::Acknowledged(seq) => self.on_ack(seq),
            Effect::Request(request) => {
                let asker = self.asker(request.id.clone());
                self.worker.push(&self.hub, asker, *request);
            }
            Effect::Refuse { request, refusal } => self.asker(request).refuse(&refusal),
            Effect::Reject {
                request,
                refusal,
                goodbye,
            } => return self.reject(request, &refusal, goodbye),
            Effect::Close { reason } => return self.close(reason, Goodbye::Normal, true),
            // The other two are steps of the handshake, and that is over.
            Effect::None | Effect::Authenticate(_) | Effect::Attach(_) => {}
        }
        Flow::On
    }

    /// Takes a place in the order of replies.
    fn asker(&self, request: Option<MessageId>) -> Asker {
        Asker {
            session: Arc::clone(&self.session),
            attachment: Arc::clone(&self.attachment),
            way: Way::Slot(self.attachment.replies.lock().reserve()),
            request,
        }
    }

    /// Advisory, and never answered [ARCP 6.5-1].
    fn on_ack(&mut self, seq: EventSeq) {
        let mut state = self.session.lock();
        if state.stream.acknowledge(seq) {
            let _below = state.pressure(self.hub.services.options.back_pressure);
        }
    }

    fn on_beat(&mut self) -> Flow {
        let now = self.started.elapsed();
        if self.idle.is_due(now) {
            if self.hub.has_nothing_for(&self.session, &self.attachment) {
                return self.close(Some("idle".to_owned()), Goodbye::Normal, true);
            }
            self.idle.busy(now);
        }
        // Frames sent since the deadline was computed count too.
        let _refreshed = self.beat_in();
        match self
            .heartbeat
            .as_mut()
            .map_or(Beat::Rest, |heartbeat| heartbeat.poll(now))
        {
            Beat::Rest => Flow::On,
            Beat::Ping => {
                let ping = payload::Ping {
                    nonce: self.hub.services.ids.nonce(),
                    sent_at: Some(self.hub.now()),
                };
                self.attachment.push_urgent(envelope(&ping));
                Flow::On
            }
            Beat::Lost => {
                tracing::info!(target: "towline::session", session = %self.session.id, "heartbeat lost");
                let refusal = Refusal::new(
                    ErrorCode::HEARTBEAT_LOST,
                    "nothing was heard for two heartbeat intervals",
                );
                self.reject(None, &refusal, Goodbye::GoingAway)
            }
        }
    }

    fn on_detached(&mut self) -> Flow {
        let why = self.attachment.why.lock().clone();
        match why {
            Some(DetachReason::Superseded) => {
                self.close(Some("superseded".to_owned()), Goodbye::Normal, false)
            }
            Some(DetachReason::Unproved) => self.reject(None, &unproved(), Goodbye::Policy),
            Some(DetachReason::Broken(refusal)) => self.reject(None, &refusal, Goodbye::GoingAway),
            Some(DetachReason::Shutdown) | None => {
                self.close(Some("shutdown".to_owned()), Goodbye::GoingAway, true)
            }
        }
    }

    /// Says `session.closed` and goes; with `drain` everything that is queued goes out first [ARCP 6.7-1].
    fn close(&mut self, reason: Option<String>, goodbye: Goodbye, drain: bool) -> Flow {
        let words = reason.clone().unwrap_or_default();
        self.attachment.close(Farewell {
            last: Some(envelope(&payload::Closed { reason })),
            goodbye,
            reason: words,
            drain,
        });
        Flow::Closing
    }

    /// Says `session.error` and goes, whatever is queued.
    fn reject(&mut self, request: Option<MessageId>, refusal: &Refusal, goodbye: Goodbye) -> Flow {
        self.attachment.close(Farewell {
            last: Some(envelope(&refusal.payload(request))),
            goodbye,
            reason: refusal.code.as_str().to_owned(),
            drain: false,
        });
        Flow::Closing
    }

    /// The session is free for a resume at once; the transport is left in good order as far as the peer lets us.
    async fn end(&self, source: &mut dyn FrameSource, writing: &mut JoinHandle<()>) {
        let closing = self.attachment.is_closing();
        self.hub.detach(&self.session, &self.attachment);
        if closing {
            // Both end by themselves when the peer plays along.
            let limit = self.hub.services.options.close_timeout;
            let both = async { tokio::join!(&mut *writing, linger(limit, source)) };
            let _ = timeout(limit, both).await;
        }
        writing.abort();
        tracing::info!(target: "towline::session", session = %self.session.id, "session detached");
    }
}
