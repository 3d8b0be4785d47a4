//! The task behind a session.
//!
//! It waits for one thing to happen ([`Driver::happening`]), lets the machine decide ([`Driver::handle`], synchronous, as is
//! everything below it), and starts over; what is to be sent goes to the link's bounded outbox, which the waiting also
//! empties. So a round trip costs no hop between tasks, and a batch of frames one flush.

mod commands;
mod dial;
mod effects;
mod link;
mod past;
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
    client::{ClientSession, Effect, JobKey, Lane, Loss, Moment, Names, RequestKey},
};
use towline_transport::{CloseFrame, Inbound, Transport};
use towline_wire::{MessageId, Shown, Timestamp, TraceId};

use self::{
    dial::{Dial, Dialled},
    link::{Link, Unsent},
    seats::Seats,
};
use crate::{
    ClientError, ClientOptions, Connection, JobEvent, SessionOver,
    mailbox::{Mailbox, Role},
    seat::{Seat, Unclaimed},
    shared::{Answer, Command, Shared, View},
};

/// Owns a session: its machine, its connection, its seats. Ends when the session is over and the last goodbye is said.
pub(crate) struct Driver {
    session: ClientSession,
    env: Env,
    link: Option<Link>,
    dial: Dial,
    seats: Seats,
    waiters: HashMap<RequestKey, Waiter>,
    /// Those whose job's past is to be asked for, and has been.
    lack_past: Vec<LacksPast>,
    asked_past: HashMap<RequestKey, (JobKey, LacksPast)>,
    /// Handles of finished jobs whose end has to come before the answer to a ping.
    fences: HashMap<RequestKey, (JobKey, Arc<Mailbox>)>,
    commands: mpsc::Receiver<Command>,
    /// Somebody can still ask for something.
    wanted: bool,
    view: watch::Sender<View>,
    unclaimed: Arc<Unclaimed>,
    /// Mailboxes that have to be read before the connection is.
    full: Vec<Arc<Mailbox>>,
    room: Arc<Notify>,
    /// What was read and not yet looked at; empty between two happenings.
    inbox: Vec<Inbound>,
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

/// A handle that waits for its job's past.
struct LacksPast {
    mailbox: Arc<Mailbox>,
    /// How often it was asked for.
    tries: u32,
    /// The job has ended unheard: without the past nobody will ever know how.
    ceased: bool,
}

/// What can happen.
enum Happening {
    /// Frames are in the inbox; or, without any, the connection ended.
    Read,
    /// What there was to send is out, or cannot be sent.
    Wrote {
        failed: bool,
    },
    /// The end of a connection that cannot be written did not come.
    Deaf,
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
            traces: options.traces.clone(),
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
            lack_past: Vec::new(),
            asked_past: HashMap::new(),
            fences: HashMap::new(),
            commands,
            wanted: true,
            view,
            unclaimed,
            full: Vec::new(),
            room,
            inbox: Vec::new(),
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

    /// Waits for the next thing to happen. Time and requests come before reading, so that a flood of events delays no ack
    /// and no cancel.
    async fn happening(&mut self) -> Happening {
        let deadline = self.deadline();
        if let Some(deadline) = deadline
            && (self.timer.deadline() > deadline || self.timer.is_elapsed())
        {
            self.timer.as_mut().reset(deadline);
        }
        let patience = self.link.as_ref().and_then(Link::patience);
        let takes_commands = self.wanted && self.has_room_for_requests();
        let reads = self.full.is_empty();
        let mut commands = Vec::new();
        let (mut writing, mut reading) = (None, None);
        if let Some(link) = &mut self.link {
            (writing, reading) = link.halves();
        }
        tokio::select! {
            biased;
            failed = link::write(&mut writing), if writing.is_some() => Happening::Wrote { failed },
            () = &mut self.timer, if deadline.is_some() => Happening::Time,
            count = self.commands.recv_many(&mut commands, COMMANDS), if takes_commands => match count {
                0 => Happening::Unwanted,
                _ => Happening::Commands(commands),
            },
            () = self.room.notified(), if !reads => Happening::Room,
            () = link::read(&mut reading, &mut self.inbox), if reads && reading.is_some() => Happening::Read,
            () = tokio::time::sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => Happening::Deaf,
            dialled = self.dial.wait(), if self.dial.is_busy() => Happening::Dialled(dialled),
            Some(()) = self.farewells.next() => Happening::Farewell,
            else => {
                // Nothing can happen any more, so nothing may be left waiting for it.
                self.session.abandon(&mut self.effects);
                Happening::Farewell
            }
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
            Happening::Read if self.inbox.is_empty() => self.link_ended(),
            Happening::Read => self.read(),
            Happening::Deaf => self.link_ended(),
            Happening::Wrote { failed: true } => {
                self.look_for_unsent();
                if let Some(link) = &mut self.link {
                    link.turned_deaf();
                }
            }
            Happening::Wrote { failed: false } => self.look_for_unsent(),
            Happening::Farewell => {}
            Happening::Commands(commands) => {
                commands.into_iter().for_each(|command| self.obey(command))
            }
            Happening::Unwanted => self.unwanted(),
            Happening::Room => self.look_for_room(),
            Happening::Time => self.tick(),
            Happening::Dialled(dialled) => self.dialled(dialled),
        }
    }

    /// What was read together happened at one moment. Events are carried out together, everything else at once: what
    /// follows may depend on it.
    fn read(&mut self) {
        let (now, wall) = (self.env.started.elapsed(), self.env.clock.now());
        let mut inbox = std::mem::take(&mut self.inbox);
        for frame in inbox.drain(..) {
            self.read_frame(frame, now, wall);
            if !matches!(self.effects.last(), None | Some(Effect::Event { .. })) {
                self.apply();
            }
        }
        self.inbox = inbox;
    }

    fn read_frame(&mut self, frame: Inbound, now: Duration, wall: Timestamp) {
        let at = Moment {
            now,
            wall,
            names: &self.env.names,
        };
        match frame {
            Inbound::Envelope(envelope) => self.session.receive(envelope, at, &mut self.effects),
            Inbound::Malformed(cause) => {
                tracing::warn!(cause = %Shown::new(&cause), "the runtime sent a frame that is no envelope");
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
            // Alive, or what else a transport may come to report.
            _ => self.session.heard(at.now),
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

    /// A request whose frame the transport did not take fails at once.
    fn look_for_unsent(&mut self) {
        let unsent = self.link.as_mut().map(Link::unsent).unwrap_or_default();
        for Unsent { id, size, limit } in unsent {
            tracing::warn!(
                size,
                limit,
                "a frame above the transport's limit was not sent"
            );
            if let Some(id) = id {
                self.session.unsent(&id, size, limit, &mut self.effects);
            }
        }
    }

    fn look_for_room(&mut self) {
        self.full.retain(|mailbox| mailbox.is_full());
        if self.full.is_empty() {
            self.session.set_paused(false, self.env.moment().now);
        }
    }
}

/// Requests taken at once, and waiting to be taken.
const COMMANDS: usize = 64;
/// Requests waiting for a reply, above which no more are taken.
const MOST_WAITING: usize = 4096;
