//! A transport that misbehaves on purpose, the same way every time.

use std::{
    collections::VecDeque,
    fmt, io,
    ops::{Range, RangeInclusive},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};
use towline_wire::Envelope;

use crate::{
    CloseFrame, Closed, FrameSink, FrameSource, Inbound, Transport, TransportError, TransportInfo,
};

/// What goes wrong on a connection. The same seed and the same frames give the same misfortune.
///
/// ```
/// use towline_transport::{MemoryTransport, testing::Chaos};
///
/// let (near, far) = MemoryTransport::pair();
/// let (near, control) = Chaos::seeded(7).cut_within(10..100).wrap(near);
/// # drop((near, far));
/// assert!(!control.is_cut());
/// ```
#[derive(Debug, Clone)]
pub struct Chaos {
    random: SplitMix,
    cut_after: Option<u64>,
    delay: Option<RangeInclusive<Duration>>,
}

impl Chaos {
    /// Nothing goes wrong yet.
    pub fn seeded(seed: u64) -> Self {
        Self {
            random: SplitMix(seed),
            cut_after: None,
            delay: None,
        }
    }

    /// Cuts the connection right after so many frames have passed, both directions together.
    #[must_use]
    pub fn cut_after(mut self, frames: u64) -> Self {
        self.cut_after = Some(frames);
        self
    }

    /// [`cut_after`](Self::cut_after) a number the seed picks from the range.
    #[must_use]
    pub fn cut_within(mut self, frames: Range<u64>) -> Self {
        let span = frames.end.saturating_sub(frames.start).max(1);
        self.cut_after = Some(frames.start + self.random.next() % span);
        self
    }

    /// Holds every received frame back for a time the seed picks from the range, in tokio's time. Order is kept; what is
    /// held back when the connection is cut is lost.
    #[must_use]
    pub fn delay(mut self, range: RangeInclusive<Duration>) -> Self {
        self.delay = Some(range);
        self
    }

    /// Puts the misfortune over a transport.
    pub fn wrap(self, transport: impl Transport) -> (ChaosTransport, ChaosControl) {
        let info = transport.info();
        let (sink, source) = Box::new(transport).split();
        let state = LinkState {
            is_cut: self.cut_after == Some(0),
            passed: 0,
            cut_after: self.cut_after,
            reader: None,
            writer: None,
        };
        let link = Arc::new(Link {
            sink: Mutex::new(Some(sink)),
            source: Mutex::new(Some(source)),
            state: Mutex::new(state),
        });
        let control = ChaosControl { link: link.clone() };
        if control.is_cut() {
            control.cut();
        }
        (
            ChaosTransport {
                link,
                info,
                random: self.random,
                delay: self.delay,
            },
            control,
        )
    }
}

/// A connection on which something may go wrong.
pub struct ChaosTransport {
    link: Arc<Link>,
    info: TransportInfo,
    random: SplitMix,
    delay: Option<RangeInclusive<Duration>>,
}

impl fmt::Debug for ChaosTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosTransport")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl Transport for ChaosTransport {
    fn info(&self) -> TransportInfo {
        self.info.clone()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let held = Held {
            random: self.random,
            delay: self.delay,
            queue: VecDeque::new(),
            alarm: None,
        };
        let source = ChaosSource {
            link: self.link.clone(),
            held,
            is_over: false,
        };
        (Box::new(ChaosSink { link: self.link }), Box::new(source))
    }
}

/// Holds the scissors.
#[derive(Clone)]
pub struct ChaosControl {
    link: Arc<Link>,
}

impl ChaosControl {
    /// Cuts the connection now: both ends see it lost, and what was not flushed or is held back is gone.
    pub fn cut(&self) {
        self.link.cut();
    }

    /// Whether it has been cut, by whatever.
    pub fn is_cut(&self) -> bool {
        self.link.state.lock().is_cut
    }

    /// How many frames have passed, both directions together.
    pub fn passed(&self) -> u64 {
        self.link.state.lock().passed
    }
}

impl fmt::Debug for ChaosControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosControl")
            .field("is_cut", &self.is_cut())
            .field("passed", &self.passed())
            .finish()
    }
}

struct Link {
    sink: Mutex<Option<Box<dyn FrameSink>>>,
    source: Mutex<Option<Box<dyn FrameSource>>>,
    state: Mutex<LinkState>,
}

struct LinkState {
    is_cut: bool,
    passed: u64,
    cut_after: Option<u64>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Link {
    /// Drops the halves, which is what the peer notices.
    fn cut(&self) {
        let wakers = {
            let mut state = self.state.lock();
            state.is_cut = true;
            [state.reader.take(), state.writer.take()]
        };
        drop((self.sink.lock().take(), self.source.lock().take()));
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// One more frame has passed.
    fn count(&self) {
        let is_due = {
            let mut state = self.state.lock();
            state.passed += 1;
            state.cut_after.is_some_and(|limit| state.passed >= limit)
        };
        if is_due {
            self.cut();
        }
    }
}

struct ChaosSink {
    link: Arc<Link>,
}

impl ChaosSink {
    fn poll(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut dyn FrameSink, &mut Context<'_>) -> Poll<Result<(), TransportError>>,
    ) -> Poll<Result<(), TransportError>> {
        self.link.state.lock().writer = Some(cx.waker().clone());
        match &mut *self.link.sink.lock() {
            Some(sink) => poll(&mut **sink, cx),
            None => Poll::Ready(Err(severed())),
        }
    }
}

impl FrameSink for ChaosSink {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.poll(cx, |sink, cx| sink.poll_ready(cx))
    }

    fn start_send(&mut self, envelope: Envelope) -> Result<(), TransportError> {
        match &mut *self.link.sink.lock() {
            Some(sink) => sink.start_send(envelope)?,
            None => return Err(severed()),
        }
        self.link.count();
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.poll(cx, |sink, cx| sink.poll_flush(cx))
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        close: &CloseFrame,
    ) -> Poll<Result<(), TransportError>> {
        self.poll(cx, |sink, cx| sink.poll_close(cx, close))
    }
}

impl Drop for ChaosSink {
    fn drop(&mut self) {
        self.link.sink.lock().take();
    }
}

struct ChaosSource {
    link: Arc<Link>,
    held: Held,
    is_over: bool,
}

/// What has been received and waits for its time.
struct Held {
    random: SplitMix,
    delay: Option<RangeInclusive<Duration>>,
    queue: VecDeque<(Instant, Option<Inbound>)>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Held {
    fn push(&mut self, inbound: Option<Inbound>) {
        let due = Instant::now()
            + self
                .delay
                .as_ref()
                .map_or(Duration::ZERO, |range| self.random.within(range));
        let due = self.queue.back().map_or(due, |(last, _)| due.max(*last));
        self.queue.push_back((due, inbound));
    }

    fn is_full(&self) -> bool {
        self.queue.len() >= MAX_HELD
    }

    /// What is due; pending too when nothing is held.
    fn poll_pop(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        let Some((due, _)) = self.queue.front() else {
            return Poll::Pending;
        };
        if *due > Instant::now() {
            let alarm = self.alarm.insert(Box::pin(tokio::time::sleep_until(*due)));
            ready!(alarm.as_mut().poll(cx));
        }
        self.alarm = None;
        Poll::Ready(self.queue.pop_front().and_then(|(_, inbound)| inbound))
    }
}

impl ChaosSource {
    /// Takes what the transport has. `Ready` when the connection is cut.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut source = self.link.source.lock();
        let Some(source) = &mut *source else {
            return Poll::Ready(());
        };
        while !self.held.is_full() {
            let inbound = ready!(source.poll_receive(cx));
            let is_end = inbound.is_none();
            self.held.push(inbound);
            if is_end {
                break;
            }
        }
        Poll::Pending
    }
}

impl FrameSource for ChaosSource {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.link.state.lock().reader = Some(cx.waker().clone());
        if self.poll_fill(cx).is_ready() {
            self.is_over = true;
            return Poll::Ready(Some(Inbound::Closed(Closed::Lost {
                reason: "the connection was cut".to_owned(),
            })));
        }
        let inbound = ready!(self.held.poll_pop(cx));
        match &inbound {
            Some(Inbound::Envelope(_) | Inbound::Malformed(_) | Inbound::TooBig { .. }) => {
                self.link.count()
            }
            Some(Inbound::Alive | Inbound::Closed(_)) => {}
            None => self.is_over = true,
        }
        Poll::Ready(inbound)
    }

    fn restrict(&mut self, bytes: Option<usize>) {
        if let Some(source) = &mut *self.link.source.lock() {
            source.restrict(bytes);
        }
    }
}

impl Drop for ChaosSource {
    fn drop(&mut self) {
        self.link.source.lock().take();
    }
}

fn severed() -> TransportError {
    TransportError::Io(io::Error::new(
        io::ErrorKind::ConnectionReset,
        "the connection was cut",
    ))
}

/// Steele, Lea and Flood's generator: small, and good enough to pick misfortunes.
#[derive(Debug, Clone)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whole microseconds between the two ends.
    fn within(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let span = range.end().saturating_sub(*range.start()).as_micros() as u64;
        *range.start() + Duration::from_micros(self.next() % span.saturating_add(1))
    }
}

/// What a delayed connection holds back at most.
const MAX_HELD: usize = 256;
