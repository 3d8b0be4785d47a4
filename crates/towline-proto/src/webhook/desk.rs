//! Which of many messages is to be tried next.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    sync::Arc,
};

use towline_wire::{JobId, JobSeq, Timestamp};

use super::Delivery;

/// What is delivered in order: the messages of one job to one URL [ARCP 16-6].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    /// The job.
    pub job: JobId,
    /// The URL.
    pub url: Arc<str>,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Its name, the same over all tries.
    pub id: Arc<str>,
    /// Whose it is: how many somebody has waiting is counted.
    pub owner: Arc<str>,
    /// The line it stands in.
    pub line: Line,
    /// Its place in the line: the record that it tells of.
    pub seq: JobSeq,
    /// What receivers share that are slow together: the host.
    pub receiver: Arc<str>,
    /// How far it came.
    pub delivery: Delivery,
}

/// How much is tried at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub all: usize,
    /// At one receiver, so that a slow one leaves room for others.
    pub receiver: usize,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Try this one. It is being tried until [`Desk::tried`] says otherwise.
    Try(Post),
    /// Wait until this moment, or until something changes.
    Wait(Timestamp),
    /// Wait until something changes.
    Idle,
}

/// The messages that wait, by line and by receiver.
///
/// Of a line only the first message is tried, and the next one when that has been delivered or given up. Of several that are
/// due the one that has been for longest comes first, save where its receiver has as many as it may. Ask [`Desk::next`] until
/// it names none; after each try call [`Desk::tried`] and ask again.
#[derive(Debug)]
pub struct Desk {
    bounds: Bounds,
    lines: HashMap<Line, Waiting>,
    receivers: BTreeMap<Arc<str>, Window>,
    busy: usize,
    owners: HashMap<Arc<str>, usize>,
    len: usize,
}

/// A line with at least one message.
#[derive(Debug, Default)]
struct Waiting {
    posts: BTreeMap<JobSeq, Post>,
    /// The one that is being tried.
    trying: Option<JobSeq>,
    /// Somebody wants that one delivered once more, whatever comes of the try.
    again: bool,
}

/// The lines that lead to one receiver.
#[derive(Debug, Default)]
struct Window {
    /// The first message of each line that is not being tried, by when it is due.
    due: BTreeSet<(Timestamp, Line)>,
    busy: usize,
}

impl Desk {
    /// An empty desk.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            lines: HashMap::new(),
            receivers: BTreeMap::new(),
            busy: 0,
            owners: HashMap::new(),
            len: 0,
        }
    }

    /// How many messages wait or are being tried.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many of one owner wait or are being tried.
    pub fn of(&self, owner: &str) -> usize {
        self.owners.get(owner).copied().unwrap_or_default()
    }

    /// Whether nothing is being tried, and nothing is to be tried now.
    pub fn is_quiet(&self, now: Timestamp) -> bool {
        let due = |window: &Window| window.due.first().is_some_and(|(due, _)| *due <= now);
        self.busy == 0 && !self.receivers.values().any(due)
    }

    /// Takes a message that is durable, or takes it anew; one that is being tried is left alone, as is one that waits for
    /// nothing.
    pub fn put(&mut self, post: Post) {
        let line = post.line.clone();
        let trying = self.lines.get(&line).and_then(|waiting| waiting.trying);
        if post.delivery.due().is_none() || trying == Some(post.seq) {
            return;
        }
        self.unlist(&line);
        let owner = Arc::clone(&post.owner);
        let waiting = self.lines.entry(line.clone()).or_default();
        if waiting.posts.insert(post.seq, post).is_none() {
            self.len += 1;
            *self.owners.entry(owner).or_default() += 1;
        }
        self.list(&line);
    }

    /// Somebody wants a message delivered once more. Whether it is being tried: then it is tried again after that, and what is
    /// kept of the try has to [say so](Self::is_wanted_again). Otherwise put it once that is durable.
    pub fn again(&mut self, line: &Line, seq: JobSeq) -> bool {
        let waiting = self.lines.get_mut(line);
        let tried = waiting.filter(|waiting| waiting.trying == Some(seq));
        tried.map(|waiting| waiting.again = true).is_some()
    }

    /// Whether the one of a line that is being tried is wanted once more.
    pub fn is_wanted_again(&self, line: &Line) -> bool {
        self.lines.get(line).is_some_and(|waiting| waiting.again)
    }

    /// What is to be done now.
    pub fn next(&mut self, now: Timestamp) -> Next {
        if self.busy >= self.bounds.all {
            return Next::Idle;
        }
        let most = self.bounds.receiver;
        let open = self.receivers.values().filter(|window| window.busy < most);
        let first = open.filter_map(|window| window.due.first()).min().cloned();
        let Some((due, line)) = first else {
            return Next::Idle;
        };
        if due > now {
            return Next::Wait(due);
        }
        self.unlist(&line);
        let Some(waiting) = self.lines.get_mut(&line) else {
            return Next::Idle;
        };
        let Some((seq, post)) = waiting.posts.first_key_value() else {
            return Next::Idle;
        };
        let post = post.clone();
        waiting.trying = Some(*seq);
        self.busy += 1;
        self.receivers
            .entry(Arc::clone(&post.receiver))
            .or_default()
            .busy += 1;
        Next::Try(post)
    }

    /// A try is over `now`, and this is how far the message came.
    pub fn tried(&mut self, mut post: Post, now: Timestamp) {
        let line = post.line.clone();
        self.busy = self.busy.saturating_sub(1);
        if let Some(window) = self.receivers.get_mut(&post.receiver) {
            window.busy = window.busy.saturating_sub(1);
        }
        let receiver = Arc::clone(&post.receiver);
        if let Some(waiting) = self.lines.get_mut(&line) {
            waiting.trying = None;
            if std::mem::take(&mut waiting.again) {
                post.delivery = post.delivery.again(now);
            }
            if post.delivery.due().is_some() {
                waiting.posts.insert(post.seq, post);
            } else if waiting.posts.remove(&post.seq).is_some() {
                self.len -= 1;
                let owner = self.owners.entry(Arc::clone(&post.owner));
                if let Entry::Occupied(mut owner) = owner {
                    *owner.get_mut() -= 1;
                    if *owner.get() == 0 {
                        owner.remove();
                    }
                }
            }
            if waiting.posts.is_empty() {
                self.lines.remove(&line);
            }
        }
        self.list(&line);
        if self
            .receivers
            .get(&receiver)
            .is_some_and(|window| window.busy == 0 && window.due.is_empty())
        {
            self.receivers.remove(&receiver);
        }
    }

    /// The first of a line, unless one of it is being tried: its receiver and when it is due.
    fn head(&self, line: &Line) -> Option<(Arc<str>, Timestamp)> {
        let waiting = self.lines.get(line)?;
        if waiting.trying.is_some() {
            return None;
        }
        let (_, post) = waiting.posts.first_key_value()?;
        Some((Arc::clone(&post.receiver), post.delivery.due()?))
    }

    fn list(&mut self, line: &Line) {
        if let Some((receiver, due)) = self.head(line) {
            let window = self.receivers.entry(receiver).or_default();
            window.due.insert((due, line.clone()));
        }
    }

    fn unlist(&mut self, line: &Line) {
        if let Some((receiver, due)) = self.head(line)
            && let Some(window) = self.receivers.get_mut(&receiver)
        {
            window.due.remove(&(due, line.clone()));
        }
    }
}
