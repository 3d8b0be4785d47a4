//! Who stands at the door: connections before anybody knows whose they are [ARCP 14-5].

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::time::Instant;
use towline_runtime::auth::Network;
use towline_transport::{FrameSink, FrameSource, Inbound, Transport, TransportInfo};

use crate::Proxy;

/// Counts the connections of a server, in all and, until they are known, an address.
///
/// A server asks [`enter`](Self::enter) for each connection it accepts, keeps the [`Visit`] for as long as the connection
/// lives, and puts a clone of it into the extensions of its requests; an endpoint then says when somebody has proved who
/// it is, and from then on the connection counts among those of its address that are known, of which there may be more.
/// Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

/// How much stands at a door. The default is 10 000 connections in all, 256 an address until somebody proves who it is, and half
/// of all an address after that.
#[derive(Debug, Clone)]
pub struct DoorOptions {
    connections: usize,
    strangers: usize,
    known: Option<usize>,
    proxies: Vec<Proxy>,
}

/// Why a connection is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Full {
    /// There are as many connections as there may be.
    InAll,
    /// There are as many of this address as there may be before somebody proves who it is.
    AtAddress,
    /// There are as many of this address as there may be at all.
    KnownAtAddress,
}

/// A connection's place. It is given up when the last clone is dropped.
#[derive(Clone)]
pub struct Visit(Arc<Place>);

struct Inner {
    options: DoorOptions,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    /// Those that nobody knows, by where they come from. A network without any is not in it.
    strangers: HashMap<Network, usize>,
    /// Those that somebody proved something on.
    known: HashMap<Network, usize>,
}

struct Place {
    door: Arc<Inner>,
    since: Instant,
    /// Where it comes from itself; `None` of one that brings others.
    own: Option<Network>,
    counted: Mutex<Counted>,
    is_taken: AtomicBool,
    is_known: AtomicBool,
}

/// Where a connection is counted beside all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Nowhere,
    Stranger(Network),
    Known(Network),
}

impl DoorOptions {
    /// 10 000 connections in all, 256 an address until somebody proves who it is, half of all after that.
    pub fn new() -> Self {
        Self {
            connections: 10_000,
            strangers: 256,
            known: None,
            proxies: Vec::new(),
        }
    }

    /// How many connections there may be in all. Default: 10 000.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How many connections of one address there may be that nobody has proved anything on. Default: 256.
    #[must_use]
    pub fn strangers_per_address(mut self, connections: usize) -> Self {
        self.strangers = connections;
        self
    }

    /// How many connections of one address there may be on which somebody has proved who it is, so that no address takes up
    /// every place [ARCP 14-6]. Default: half of the connections in all, and 1024 at least.
    #[must_use]
    pub fn known_per_address(mut self, connections: usize) -> Self {
        self.known = Some(connections);
        self
    }

    fn most_known(&self) -> usize {
        self.known
            .unwrap_or_else(|| (self.connections / 2).max(1024))
    }

    /// Takes no more connections than leave a quarter of so many files to everything else, and of strangers from one address no more
    /// than half of them, so that no address takes up a small server. Call it last.
    #[must_use]
    pub fn within_files(mut self, files: usize) -> Self {
        self.connections = self.connections.min(files - files / 4);
        self.strangers = self.strangers.min((self.connections / 2).max(1));
        self
    }

    /// Connections of these are counted by the address they state, once they have stated it, for they bring everybody.
    #[must_use]
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = Proxy>) -> Self {
        self.proxies = proxies.into_iter().collect();
        self
    }
}

impl Default for DoorOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl Door {
    /// A door that nobody has come through.
    pub fn new(options: DoorOptions) -> Self {
        Self(Arc::new(Inner {
            options,
            counts: Mutex::default(),
        }))
    }

    /// A place for a connection that was just accepted; one on a socket of this machine comes from no address, and counts in
    /// all only.
    ///
    /// # Errors
    /// [`Full`] when there is none; drop the connection then.
    pub fn enter(&self, peer: impl Into<Option<SocketAddr>>) -> Result<Visit, Full> {
        let options = &self.0.options;
        let peer = peer.into();
        let is_proxy =
            |peer: &SocketAddr| options.proxies.iter().any(|proxy| proxy.is_at(peer.ip()));
        let network = Network::of(peer.filter(|peer| !is_proxy(peer)));
        let mut counts = self.0.counts();
        if counts.all >= options.connections {
            return Err(Full::InAll);
        }
        let counted = match network {
            None => Counted::Nowhere,
            Some(network) => {
                if counts.known.get(&network).copied().unwrap_or(0) >= options.most_known() {
                    return Err(Full::KnownAtAddress);
                }
                counts.add(network, options.strangers)?;
                Counted::Stranger(network)
            }
        };
        counts.all += 1;
        drop(counts);
        Ok(Visit(Arc::new(Place {
            door: Arc::clone(&self.0),
            since: Instant::now(),
            own: network,
            counted: Mutex::new(counted),
            is_taken: AtomicBool::new(false),
            is_known: AtomicBool::new(false),
        })))
    }
}

impl Inner {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counts are whole at every await and every panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn add(&mut self, network: Network, limit: usize) -> Result<(), Full> {
        let count = self.strangers.get(&network).copied().unwrap_or(0);
        if count >= limit {
            return Err(Full::AtAddress);
        }
        self.strangers.insert(network, count + 1);
        Ok(())
    }

    fn remove(&mut self, counted: Counted) {
        let (those, network) = match counted {
            Counted::Nowhere => return,
            Counted::Stranger(network) => (&mut self.strangers, network),
            Counted::Known(network) => (&mut self.known, network),
        };
        if let Some(count) = those.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                those.remove(&network);
            }
        }
    }
}

impl Visit {
    /// When the connection was accepted.
    pub fn since(&self) -> Instant {
        self.0.since
    }

    /// Whether a runtime has the connection, and so whether its time limits hold. Until then the server's have to.
    pub fn is_taken(&self) -> bool {
        self.0.is_taken.load(Ordering::Relaxed)
    }

    pub(crate) fn taken(&self) {
        self.0.is_taken.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has proved who it is.
    pub fn is_known(&self) -> bool {
        self.0.is_known.load(Ordering::Relaxed)
    }

    /// Somebody has proved who it is: the connection is no stranger's any more. One that brings others counts in all only.
    pub fn known(&self) {
        if self.0.is_known.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut counted = self.0.counted();
        let before = *counted;
        *counted = match before {
            Counted::Stranger(network) if self.0.own == Some(network) => Counted::Known(network),
            _ => Counted::Nowhere,
        };
        let mut counts = self.0.door.counts();
        counts.remove(before);
        if let Counted::Known(network) = *counted {
            *counts.known.entry(network).or_default() += 1;
        }
    }

    /// A proxy says that the peer is somewhere else than the connection.
    pub(crate) fn comes_from(&self, peer: SocketAddr) -> Result<(), Full> {
        let mut counted = self.0.counted();
        let network = Network::of(Some(peer));
        let stated = network.map_or(Counted::Nowhere, Counted::Stranger);
        if self.is_known() || *counted == stated {
            return Ok(());
        }
        let mut counts = self.0.door.counts();
        if let Some(network) = network {
            counts.add(network, self.0.door.options.strangers)?;
        }
        counts.remove(std::mem::replace(&mut *counted, stated));
        Ok(())
    }

    /// A transport that tells this visit when its peer is known.
    pub(crate) fn on(self, inner: Box<dyn Transport>) -> Box<dyn Transport> {
        Box::new(Visited { inner, visit: self })
    }
}

impl Place {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counted = *self.counted();
        let mut counts = self.door.counts();
        counts.remove(counted);
        counts.all -= 1;
    }
}

/// A connection at a door. The runtime lifts its restriction once it knows who the peer is.
struct Visited {
    inner: Box<dyn Transport>,
    visit: Visit,
}

impl Transport for Visited {
    fn info(&self) -> TransportInfo {
        self.inner.info().since(self.visit.since())
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let Self { inner, visit } = *self;
        let (sink, inner) = inner.split();
        (sink, Box::new(VisitedSource { inner, visit }))
    }
}

struct VisitedSource {
    inner: Box<dyn FrameSource>,
    visit: Visit,
}

impl FrameSource for VisitedSource {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        self.inner.poll_receive(cx)
    }

    fn restrict(&mut self, bytes: Option<usize>) {
        if bytes.is_none() {
            self.visit.known();
        }
        self.inner.restrict(bytes);
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InAll => "the server has as many connections as it takes, try again later",
            Self::AtAddress => {
                "too many connections of this address have not said hello, try again later"
            }
            Self::KnownAtAddress => "too many connections are of this address, try again later",
        })
    }
}

impl std::error::Error for Full {}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("options", &self.0.options)
            .field("connections", &self.0.counts().all)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit")
            .field("since", &self.0.since)
            .field("is_known", &self.is_known())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 9)
    }

    fn door() -> Door {
        let proxy = "10.0.0.0/8".parse().unwrap();
        let options = DoorOptions::new().connections(6).strangers_per_address(2);
        Door::new(options.trusted_proxies([proxy]))
    }

    /// [ARCP 14-5] An address has so many connections that nobody knows, all together so many of any kind.
    #[tokio::test]
    async fn connections_are_counted_an_address_and_in_all() {
        let door = door();
        let (one, other) = (at("192.0.2.1"), at("192.0.2.2"));
        let first = door.enter(one).unwrap();
        let _second = door.enter(one).unwrap();
        assert_eq!(door.enter(one).unwrap_err(), Full::AtAddress);
        first.known();
        let third = door.enter(one).unwrap();
        drop(third.clone());
        assert_eq!(door.enter(one).unwrap_err(), Full::AtAddress);
        let _others = [door.enter(other).unwrap(), door.enter(other).unwrap()];
        drop(third);
        let _fourth = door.enter(one).unwrap();
        let _fifth = door.enter(at("192.0.2.3")).unwrap();
        assert_eq!(door.enter(at("192.0.2.4")).unwrap_err(), Full::InAll);
        drop(first);
        door.enter(at("192.0.2.4")).unwrap();
        assert_eq!(door.0.counts().strangers.len(), 3);
    }

    /// [ARCP 14-5, 14-6] A token does not open every place to an address: so many are known, and the others stay for others.
    #[tokio::test]
    async fn those_who_are_known_are_counted_an_address_too() {
        let options = DoorOptions::new().connections(6).known_per_address(2);
        let door = Door::new(options.trusted_proxies(["10.0.0.0/8".parse().unwrap()]));
        let enter = |address: &str| {
            let visit = door.enter(at(address))?;
            visit.known();
            visit.known();
            Ok::<_, Full>(visit)
        };
        let (first, _second) = (enter("192.0.2.1").unwrap(), enter("192.0.2.1").unwrap());
        assert_eq!(enter("192.0.2.1").unwrap_err(), Full::KnownAtAddress);
        let other = enter("192.0.2.2").unwrap();
        drop((first, other));
        let _third = enter("192.0.2.1").unwrap();
        let proxied: Vec<_> = (0..3)
            .map(|_| door.enter(at("10.0.0.1")).unwrap())
            .collect();
        for visit in &proxied {
            visit.comes_from(at("192.0.2.3")).unwrap();
            visit.known();
        }
        drop(proxied);
        let counts = door.0.counts();
        assert!(counts.strangers.is_empty());
        assert_eq!((counts.known.len(), counts.all), (1, 2));
    }

    /// [ARCP 14-5] Where few files may be open, an address does not get them all.
    #[test]
    fn a_small_server_is_not_taken_up() {
        let door = Door::new(DoorOptions::new().within_files(8));
        let enter = |address| door.enter(at(address));
        let _one = [(); 3].map(|()| enter("192.0.2.1").unwrap());
        assert_eq!(enter("192.0.2.1").unwrap_err(), Full::AtAddress);
        let _other = [(); 3].map(|()| enter("192.0.2.2").unwrap());
        assert_eq!(enter("192.0.2.3").unwrap_err(), Full::InAll);
    }

    /// [ARCP 14-5, 14-2] Who comes through a proxy is counted where it comes from; the proxy itself is everybody.
    #[tokio::test]
    async fn a_proxy_brings_others() {
        let door = door();
        let visits: Vec<_> = (0..3)
            .map(|_| door.enter(at("10.0.0.1")).unwrap())
            .collect();
        visits[0].comes_from(at("192.0.2.1")).unwrap();
        visits[1].comes_from(at("192.0.2.1")).unwrap();
        visits[1].comes_from(at("192.0.2.1")).unwrap();
        assert_eq!(visits[2].comes_from(at("192.0.2.1")), Err(Full::AtAddress));
        visits[2].comes_from(at("192.0.2.2")).unwrap();
        drop(visits);
        assert!(door.0.counts().strangers.is_empty());
        assert_eq!(door.0.counts().all, 0);
    }
}
