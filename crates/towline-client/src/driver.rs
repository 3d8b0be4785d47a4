//! The task behind a session.
//!
//! It waits for one thing to happen ([`Driver::happening`]), lets the machine decide ([`Driver::handle`], synchronous, as is
//! everything below it), and starts over; what is to be sent goes to the link's bounded outbox, which the waiting also
//! empties. So a round trip costs no hop between tasks, and a batch of frames one flush.

mod dial;
mod link;
mod seats;

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, Sleep},
};
use towline_env::{Clock, Ids};
use towline_proto::{
    Dialect,
    client::{
        ClientSession, Effect, JobKey, Lane, Loss, Moment, Names, Over, Reply, Request,
        RequestError, RequestKey,
    },
};
use towline_transport::{CloseCode, CloseFrame, Inbound, Transport};
use towline_wire::{JobId, MessageId, TraceId};

use self::{
    dial::{Dial, Dialled},
    link::Link,
    seats::Seats,
};
use crate::{
    ClientError, ClientOptions, Connection, JobEvent, ResumeState, SessionInfo, SessionOver,
    client::{Answer, Boxed, Command, Shared, View},
    job::Seat,
    mailbox::{Mailbox, Role},
    unsolicited::Unclaimed,
};

/// Owns a session: its machine, its connection, its seats. Ends when the session is over and the last goodbye is said.
pub(crate) struct Driver {
    session: ClientSession,
    env: Env,
    link: Option<Link>,
    dial: Dial,
    seats: Seats,
    waiters: HashMap<RequestKey, Waiter>,
    commands: mpsc::Receiver<Command>,
    /// Somebody can still ask for something.
    wanted: bool,
    view: watch::Sender<View>,
    unclaimed: Arc<Unclaimed>,
    /// Mailboxes that have to be read before the connection is.
    full: Vec<Arc<Mailbox>>,
    room: Arc<Notify>,
    effects: Vec<Effect>,
    /// Events on their way to one job's seats.
    run: Vec<JobEvent>,
    run_of: Option<(JobKey, Lane)>,
    /// Goodbyes still being said on connections that are done with.
    farewells: FuturesUnordered<BoxFuture<'static, ()>>,
    greeting: Option<oneshot::Sender<Result<(), ClientError>>>,
    closers: Vec<oneshot::Sender<()>>,
    over: Option<SessionOver>,
    /// What the user has forced or a former welcome showed; for the next resume state.
    dialect: Option<Dialect>,
    buffer: usize,
    timer: Pin<Box<Sleep>>,
}

/// Time and names.
struct Env {
    started: Instant,
    clock: Arc<dyn Clock>,
    names: Namer,
}

struct Namer(Ids);

impl Names for Namer {
    fn message(&self) -> MessageId {
        self.0.message()
    }

    fn nonce(&self) -> String {
        self.0.nonce()
    }

    fn trace(&self) -> TraceId {
        self.0.trace()
    }
}

impl Env {
    fn moment(&self) -> Moment<'_> {
        Moment {
            now: self.started.elapsed(),
            wall: self.clock.now(),
            names: &self.names,
        }
    }

    fn instant(&self, moment: Duration) -> Instant {
        self.started + moment
    }
}

/// Who waits for a reply.
struct Waiter {
    reply: oneshot::Sender<Result<Answer, ClientError>>,
    /// The seat a subscribe took before its answer.
    seat: Option<(JobKey, Arc<Mailbox>)>,
}

/// What can happen.
enum Happening {
    /// Frames were read; or, without any, the connection ended.
    Read(Vec<Inbound>),
    /// What there was to send is out, or cannot be sent.
    Wrote {
        failed: bool,
    },
    Commands(Vec<Command>),
    /// Nobody can ask for anything any more.
    Unwanted,
    /// A handle has taken events.
    Room,
    Time,
    Dialled(Dialled),
    /// A goodbye is said.
    Farewell,
}

impl Driver {
    /// Starts the task of a new session. The second value tells once whether it stands.
    pub(crate) fn start(
        transport: Box<dyn Transport>,
        options: ClientOptions,
    ) -> (Arc<Shared>, oneshot::Receiver<Result<(), ClientError>>) {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let connection = Connection::Lost {
            cause: Loss::Transport,
        };
        let (view, shown) = watch::channel(View {
            session: None,
            connection,
        });
        let (greeting, greeted) = oneshot::channel();
        let unclaimed = Arc::new(Unclaimed::default());
        let shared = Shared {
            commands,
            view: shown,
            unclaimed: unclaimed.clone(),
            result_cap: options.result_cap,
            buffer: options.buffer,
        };
        let mut driver = Self::new(options, inbox, view, unclaimed);
        driver.greeting = Some(greeting);
        driver.attach_link(transport);
        driver.apply();
        tokio::spawn(driver.run());
        (Arc::new(shared), greeted)
    }

    fn new(
        options: ClientOptions,
        commands: mpsc::Receiver<Command>,
        view: watch::Sender<View>,
        unclaimed: Arc<Unclaimed>,
    ) -> Self {
        let mut config = options.session;
        config.reconnects = options.connector.is_some();
        let room = Arc::new(Notify::new());
        let (point, jobs, dialect) = match options.resume {
            Some(state) => (Some(state.point), state.jobs, state.dialect),
            None => (None, Vec::new(), None),
        };
        // The hello of a resume already depends on whom it is said to.
        config.dialect = config.dialect.or(dialect);
        let dialect = config.dialect;
        let (session, keys) = ClientSession::new(config, point, &jobs);
        let mut seats = Seats::default();
        for (job, key) in jobs.into_iter().zip(keys) {
            // Named to be attached, so they are kept like a handle's events, not like those of an unclaimed job.
            let mailbox = Arc::new(Mailbox::new(job, Role::Own, options.buffer, room.clone()));
            seats.add(key, mailbox.clone());
            unclaimed.offer(Seat {
                mailbox,
                accepted: None,
            });
        }
        Self {
            session,
            env: Env {
                started: Instant::now(),
                clock: options.clock,
                names: Namer(options.ids),
            },
            link: None,
            dial: Dial::new(options.connector, options.backoff, options.give_up_after),
            seats,
            waiters: HashMap::new(),
            commands,
            wanted: true,
            view,
            unclaimed,
            full: Vec::new(),
            room,
            effects: Vec::new(),
            run: Vec::new(),
            run_of: None,
            farewells: FuturesUnordered::new(),
            greeting: None,
            closers: Vec::new(),
            over: None,
            dialect,
            buffer: options.buffer,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    async fn run(mut self) {
        while !(self.session.is_over() && self.farewells.is_empty()) {
            let happening = self.happening().await;
            self.handle(happening);
            self.apply();
            // A peer that never stops must not keep other tasks of this thread from running.
            tokio::task::coop::consume_budget().await;
        }
        self.closers.into_iter().for_each(|closer| {
            // Nobody waits any more, perhaps.
            let _ = closer.send(());
        });
    }

    /// Waits for the next thing to happen. Requests come before reading, so that a flood of events delays no cancel.
    async fn happening(&mut self) -> Happening {
        let deadline = self.deadline();
        if let Some(deadline) = deadline
            && (self.timer.deadline() > deadline || self.timer.is_elapsed())
        {
            self.timer.as_mut().reset(deadline);
        }
        let takes_commands = self.wanted && self.has_room_for_requests();
        let reads = self.full.is_empty();
        let mut commands = Vec::new();
        let mut frames = Vec::new();
        let (mut writing, mut reading) = (None, None);
        if let Some(link) = &mut self.link {
            (writing, reading) = link.halves();
        }
        tokio::select! {
            biased;
            failed = link::write(&mut writing), if writing.is_some() => Happening::Wrote { failed },
            count = self.commands.recv_many(&mut commands, COMMANDS), if takes_commands => match count {
                0 => Happening::Unwanted,
                _ => Happening::Commands(commands),
            },
            () = self.room.notified(), if !reads => Happening::Room,
            () = link::read(&mut reading, &mut frames), if reads && reading.is_some() => Happening::Read(frames),
            () = &mut self.timer, if deadline.is_some() => Happening::Time,
            dialled = self.dial.wait(), if self.dial.is_busy() => Happening::Dialled(dialled),
            Some(()) = self.farewells.next() => Happening::Farewell,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.session
            .deadline()
            .map(|deadline| self.env.instant(deadline))
    }

    /// Replies of the peer's making are bounded by not reading; requests by not taking them.
    fn has_room_for_requests(&self) -> bool {
        self.session.waiting() < MOST_WAITING && self.link.as_ref().is_none_or(Link::has_room)
    }

    fn handle(&mut self, happening: Happening) {
        match happening {
            Happening::Read(frames) if frames.is_empty() => self.link_ended(),
            Happening::Read(frames) => frames.into_iter().for_each(|frame| self.read(frame)),
            Happening::Wrote { failed: true } => self.link_ended(),
            Happening::Wrote { failed: false } | Happening::Farewell => {}
            Happening::Commands(commands) => {
                commands.into_iter().for_each(|command| self.obey(command))
            }
            Happening::Unwanted => self.unwanted(),
            Happening::Room => self.look_for_room(),
            Happening::Time => self.tick(),
            Happening::Dialled(dialled) => self.dialled(dialled),
        }
    }

    fn read(&mut self, frame: Inbound) {
        let at = self.env.moment();
        match frame {
            Inbound::Envelope(envelope) => self.session.receive(envelope, at, &mut self.effects),
            Inbound::Alive => self.session.heard(at.now),
            Inbound::Malformed(cause) => {
                tracing::warn!(%cause, "the runtime sent a frame that is no envelope");
                self.session.malformed(at.now);
            }
            Inbound::TooBig {
                limit,
                fatal: false,
            } => {
                tracing::warn!(
                    limit,
                    "the runtime sent a frame above the limit; it was skipped"
                );
                self.session.malformed(at.now);
            }
            Inbound::TooBig { limit, fatal: true } => {
                self.session.too_big(limit, at, &mut self.effects)
            }
            // The end follows, and says so by itself.
            Inbound::Closed(closed) => tracing::debug!(?closed, "the connection ended"),
        }
    }

    fn tick(&mut self) {
        let Self {
            session,
            env,
            seats,
            effects,
            ..
        } = self;
        session.tick(env.moment(), |received| seats.processed(received), effects);
    }

    fn link_ended(&mut self) {
        self.drop_link(CloseFrame::normal());
        self.session.lost(&mut self.effects);
        self.apply();
        self.find_a_way_back(Loss::Transport);
    }

    /// Ends the connection, saying what is still to be said.
    fn drop_link(&mut self, close: CloseFrame) {
        if let Some(link) = self.link.take() {
            self.farewells.push(Box::pin(link.farewell(close)));
        }
    }

    fn attach_link(&mut self, transport: Box<dyn Transport>) {
        self.link = Some(Link::new(transport));
        self.session.connected(self.env.moment(), &mut self.effects);
    }

    /// After a loss: another connection, or the word that there is none.
    fn find_a_way_back(&mut self, cause: Loss) {
        if self.session.is_over() || self.link.is_some() {
            return;
        }
        if self.dial.can_dial() && self.wanted {
            self.redial(cause);
            return;
        }
        self.fail_greeting(ClientError::Disconnected {
            maybe_accepted: false,
        });
        self.seats.set_trouble(Some(&ClientError::Disconnected {
            maybe_accepted: false,
        }));
        self.show(Connection::Lost { cause });
        if !self.wanted {
            self.session.abandon(&mut self.effects);
        }
    }

    fn redial(&mut self, cause: Loss) {
        let random = self.env.names.0.random();
        match self.dial.schedule(random) {
            Ok(attempts) => self.show(Connection::Reconnecting { attempts, cause }),
            Err(gave_up) => {
                self.over = Some(gave_up);
                self.session.abandon(&mut self.effects);
            }
        }
    }

    fn dialled(&mut self, dialled: Dialled) {
        match dialled {
            Dialled::Now => self.dial.begin(),
            Dialled::Done(Ok(transport)) => self.attach_link(transport),
            Dialled::Done(Err(error)) => {
                tracing::debug!(%error, "no connection");
                self.find_a_way_back(Loss::Transport);
            }
        }
    }

    fn unwanted(&mut self) {
        self.wanted = false;
        let processed = self.seats.processed(self.session.last_event_seq());
        self.session
            .close(None, processed, self.env.moment(), &mut self.effects);
    }

    fn look_for_room(&mut self) {
        self.full.retain(|mailbox| mailbox.is_full());
        if self.full.is_empty() {
            self.session.set_paused(false, self.env.moment().now);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Ask { request, reply } => self.ask(request, reply),
            Command::ResumeWith { transport, reply } => self.resume_with(transport, reply),
            Command::ResumeState { reply } => drop(reply.send(self.resume_state())),
            Command::Counters { reply } => drop(reply.send(self.session.counters())),
            Command::Close { reason, reply } => {
                let processed = self.seats.processed(self.session.last_event_seq());
                self.session.close(
                    Some(reason),
                    processed,
                    self.env.moment(),
                    &mut self.effects,
                );
                self.closers.push(reply);
            }
        }
    }

    fn ask(&mut self, request: Request, reply: oneshot::Sender<Result<Answer, ClientError>>) {
        let watched = match &request {
            Request::Subscribe { job, from, .. } => Some((job.clone(), *from)),
            _ => None,
        };
        if let Request::Unsubscribe { job } = &request {
            self.release_closed(&job.clone());
        }
        let asked = self
            .session
            .request(request, self.env.moment(), &mut self.effects);
        match asked {
            Err(error) => drop(reply.send(Err(self.explain(error)))),
            Ok((key, job)) => {
                let seat = watched.zip(job).map(|((id, from), job)| {
                    let mailbox = Arc::new(Mailbox::new(
                        id,
                        Role::Watch,
                        self.buffer,
                        self.room.clone(),
                    ));
                    from.into_iter().for_each(|from| mailbox.begin_after(from));
                    self.seats.add(job, mailbox.clone());
                    (job, mailbox)
                });
                self.waiters.insert(key, Waiter { reply, seat });
            }
        }
    }

    /// Takes the dropped subscriptions of a job back, but one: for that the unsubscribe that follows is meant.
    fn release_closed(&mut self, job: &JobId) {
        let Some(key) = self.session.job_key(job) else {
            return;
        };
        let closed = self.seats.remove_closed(key);
        (1..closed).for_each(|_| self.unsubscribe(job.clone()));
    }

    fn unsubscribe(&mut self, job: JobId) {
        // Where it cannot be sent there is nothing to take back.
        let _ = self.session.request(
            Request::Unsubscribe { job },
            self.env.moment(),
            &mut self.effects,
        );
    }

    fn resume_with(&mut self, transport: Boxed, reply: oneshot::Sender<Result<(), ClientError>>) {
        if self.link.is_some() || self.dial.can_dial() {
            let busy = "the connection is not lost, or a connector is at it".to_owned();
            drop(reply.send(Err(ClientError::Invalid(busy))));
            return;
        }
        self.greeting = Some(reply);
        self.attach_link(transport.0);
    }

    fn resume_state(&self) -> Option<ResumeState> {
        let mut point = self.session.resume_point()?;
        point.last_event_seq = self.seats.processed(point.last_event_seq);
        Some(ResumeState {
            point,
            jobs: self.session.jobs().cloned().collect(),
            dialect: self.dialect,
        })
    }

    /// Carries out what was decided, in order. Events of one job in a row are delivered together.
    fn apply(&mut self) {
        while !self.effects.is_empty() {
            let mut effects = std::mem::take(&mut self.effects);
            for effect in effects.drain(..) {
                match effect {
                    Effect::Event {
                        job,
                        lane,
                        envelope,
                    } => {
                        if self.run_of != Some((job, lane)) {
                            self.deliver();
                            self.run_of = Some((job, lane));
                        }
                        self.run.push(JobEvent::new(envelope, lane));
                    }
                    other => {
                        self.deliver();
                        self.carry_out(other);
                    }
                }
            }
            self.deliver();
            // What carrying out led to comes next; the memory is used again.
            std::mem::swap(&mut self.effects, &mut effects);
            self.effects.append(&mut effects);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Event { .. } => {}
            Effect::Send(envelope) => {
                if let Some(link) = &mut self.link {
                    link.push(envelope);
                }
            }
            Effect::Ended {
                job,
                event_seq,
                end,
            } => self.seats.end(job, &Arc::new(*end), event_seq),
            Effect::Reply { request, reply } => self.reply(request, *reply),
            Effect::Opened { job, id, accepted } => {
                let mailbox = Arc::new(Mailbox::unclaimed(id, self.room.clone()));
                self.seats.add(job, mailbox.clone());
                self.unclaimed.offer(Seat {
                    mailbox,
                    accepted: accepted.map(|accepted| Arc::new(*accepted)),
                });
            }
            Effect::Released { job } => self.seats.release(job),
            Effect::Up(established) => self.up(SessionInfo::new(*established)),
            Effect::Reported(refusal) => tracing::warn!(%refusal, "the runtime reported an error"),
            Effect::Drop(loss) => {
                tracing::info!(?loss, "leaving the connection");
                let code = if loss == Loss::HeartbeatLost {
                    CloseCode::GOING_AWAY
                } else {
                    CloseCode::NORMAL
                };
                self.drop_link(CloseFrame::new(code, ""));
                self.find_a_way_back(loss);
            }
            Effect::Over(over) => self.finish(over),
        }
    }

    /// Hands the run of events over.
    fn deliver(&mut self) {
        let Some((job, lane)) = self.run_of.take() else {
            return;
        };
        let delivered = self.seats.deliver(job, lane, &mut self.run);
        if let Some(full) = delivered.full
            && !self.full.iter().any(|known| Arc::ptr_eq(known, &full))
        {
            self.session.set_paused(true, self.env.moment().now);
            self.full.push(full);
        }
        if delivered.unwatched > 0
            && let Some(id) = self.session.job_id(job).cloned()
        {
            (0..delivered.unwatched).for_each(|_| self.unsubscribe(id.clone()));
        }
    }

    fn up(&mut self, info: SessionInfo) {
        self.dial.succeeded(info.resume_window());
        self.dialect = Some(info.dialect());
        self.seats.set_trouble(None);
        let session = Some(Arc::new(info));
        self.view.send_replace(View {
            session,
            connection: Connection::Live,
        });
        if let Some(greeting) = self.greeting.take() {
            // A dropped future of `connect` dropped its client too, and that is noticed by itself.
            let _ = greeting.send(Ok(()));
        }
    }

    fn reply(&mut self, request: RequestKey, reply: Reply) {
        let Some(Waiter {
            reply: waiter,
            seat,
        }) = self.waiters.remove(&request)
        else {
            return;
        };
        let answer = match reply {
            Reply::Accepted { job, id, accepted } => {
                let mailbox = Arc::new(Mailbox::new(id, Role::Own, self.buffer, self.room.clone()));
                self.seats.add(job, mailbox.clone());
                Ok(Answer::Job(Seat {
                    mailbox,
                    accepted: Some(Arc::new(*accepted)),
                }))
            }
            Reply::Subscribed(subscribed) => match seat {
                Some((_, mailbox)) => Ok(Answer::Subscribed(
                    Seat {
                        mailbox,
                        accepted: None,
                    },
                    subscribed,
                )),
                None => Ok(Answer::Done),
            },
            Reply::Jobs(jobs) => Ok(Answer::Jobs(jobs)),
            Reply::Cancelled(_) | Reply::Pong | Reply::Done => Ok(Answer::Done),
            Reply::Failed(error) => {
                seat.into_iter()
                    .for_each(|(job, mailbox)| self.seats.remove(job, &mailbox));
                Err(self.explain(error))
            }
        };
        if let Err(Ok(Answer::Job(seat) | Answer::Subscribed(seat, _))) = waiter.send(answer) {
            // The future was dropped: nobody reads the job.
            seat.mailbox.close();
        }
    }

    /// What the machine cannot know of an error.
    fn explain(&self, error: RequestError) -> ClientError {
        match (error, &self.over) {
            (RequestError::SessionOver, Some(over)) => ClientError::SessionOver(over.clone()),
            (RequestError::Timeout { after }, _) => ClientError::Timeout {
                after,
                blocked_by: self.full.first().map(|mailbox| mailbox.job().clone()),
            },
            (error, _) => error.into(),
        }
    }

    fn finish(&mut self, over: Over) {
        let too_big = matches!(over, Over::TooBig { .. });
        let handshake = match &over {
            Over::Handshake(error) => Some(ClientError::Handshake(error.clone())),
            _ => None,
        };
        let over = self.over.take().unwrap_or_else(|| SessionOver::from(over));
        let error = ClientError::SessionOver(over.clone());
        self.fail_greeting(handshake.unwrap_or_else(|| error.clone()));
        self.seats.set_trouble(Some(&error));
        self.unclaimed.finish();
        self.full.clear();
        self.dial.stop();
        self.show(Connection::Over(over.clone()));
        self.over = Some(over);
        let code = if too_big {
            CloseCode::TOO_BIG
        } else {
            CloseCode::NORMAL
        };
        self.drop_link(CloseFrame::new(code, ""));
    }

    fn fail_greeting(&mut self, error: ClientError) {
        if let Some(greeting) = self.greeting.take() {
            drop(greeting.send(Err(error)));
        }
    }

    fn show(&self, connection: Connection) {
        self.view.send_modify(|view| view.connection = connection);
    }
}

impl From<Over> for SessionOver {
    fn from(over: Over) -> Self {
        match over {
            Over::Closed => Self::Closed,
            Over::ByRuntime { reason } => Self::ByRuntime { reason },
            Over::Handshake(error) => Self::NotResumed(error),
            Over::NotResumable => Self::NotResumable,
            Over::TooBig { limit } => Self::TooBig { limit },
        }
    }
}

/// Requests taken at once, and waiting to be taken.
const COMMANDS: usize = 64;
/// Requests waiting for a reply, above which no more are taken.
const MOST_WAITING: usize = 4096;
