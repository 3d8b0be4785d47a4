//! The terminal somebody types at.
//!
//! Only what is typed after a question was put is an answer to it: what waits in the terminal by then is thrown away, and
//! nothing is read between two questions. So nobody approves something that they have not seen.
//!
//! ```text
//! put ──▶ thrown away ──▶ shown ──▶ a line is typed ──▶ line()
//!              ▲                          │
//!              └────── put again ◀────────┘ (or withdrawn meanwhile)
//! ```

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

/// Lines that somebody types, one for each question.
pub(crate) struct Keyboard {
    shared: Arc<Shared>,
    lines: mpsc::Receiver<Typed>,
}

/// A line and the question that it came after; none where there are no more lines.
struct Typed {
    question: u64,
    line: Option<String>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Held while a line is read, so that a line belongs to one question.
#[derive(Default)]
struct State {
    /// How many questions have been put.
    question: u64,
    /// Whether the last one waits for a line.
    waits: bool,
}

impl Keyboard {
    /// Reads from standard input from now on, when a question was put.
    pub(crate) fn new() -> Self {
        let (to_us, lines) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        // It ends with the program, or with the terminal.
        std::thread::spawn(move || theirs.read_lines(&to_us));
        Self { shared, lines }
    }

    /// A question is about to be shown: what was typed before is not meant for it.
    pub(crate) fn put(&self) {
        let mut state = self.shared.lock();
        state.question += 1;
        state.waits = true;
        terminal::throw_away();
        self.shared.changed.notify_one();
    }

    /// Nobody asks any more.
    pub(crate) fn withdraw(&self) {
        self.shared.lock().waits = false;
    }

    /// The line that was typed after the last question; none when there are no more lines. Cancel safe; without a question it
    /// waits for ever.
    pub(crate) async fn line(&mut self) -> Option<String> {
        loop {
            let typed = self.lines.recv().await?;
            let state = self.shared.lock();
            if typed.line.is_none() || typed.question == state.question {
                return typed.line;
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_lines(&self, to_us: &mpsc::Sender<Typed>) {
        let mut input = terminal::Input::new();
        loop {
            let asked = self.wait_for_question();
            if !input.waits_for_us() {
                continue;
            }
            let mut state = self.lock();
            // What waited may have been thrown away since.
            if !state.waits || state.question != asked {
                continue;
            }
            let line = input.read();
            state.waits = false;
            drop(state);
            let is_last = line.is_none();
            let question = asked;
            if to_us.blocking_send(Typed { question, line }).is_err() || is_last {
                return;
            }
        }
    }

    fn wait_for_question(&self) -> u64 {
        let mut state = self.lock();
        while !state.waits {
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.question
    }
}

/// Whether somebody can be asked: standard input is a terminal, and this program is in front of it.
pub(crate) fn is_attended() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdin()) && terminal::is_ours()
}

#[cfg(unix)]
mod terminal {
    use std::{io::stdin, time::Duration};

    use rustix::{
        event::{PollFd, PollFlags, poll},
        process::getpgrp,
        termios::{QueueSelector, tcflush, tcgetpgrp},
    };

    /// How often a program in the background looks whether it is in front again.
    const LOOK_AGAIN: Duration = Duration::from_millis(200);

    /// The longest line; a terminal gives no longer ones.
    const LINE: usize = 4096;

    /// Whether this program is the one that is typed to. Another one would be stopped by reading, or by throwing away.
    pub(super) fn is_ours() -> bool {
        tcgetpgrp(stdin()).is_ok_and(|group| group == getpgrp())
    }

    /// Throws away what was typed and not read.
    pub(super) fn throw_away() {
        if is_ours() {
            // A terminal that is gone has nothing to throw away.
            let _ = tcflush(stdin(), QueueSelector::IFlush);
        }
    }

    /// Standard input.
    pub(super) struct Input;

    impl Input {
        pub(super) const fn new() -> Self {
            Self
        }

        /// Waits for a while, or for a line that can be read at once; whether there is one, for us.
        pub(super) fn waits_for_us(&mut self) -> bool {
            let input = stdin();
            let is_there = poll(&mut [PollFd::new(&input, PollFlags::IN)], None);
            let is_ours = is_ours();
            if !is_ours {
                std::thread::sleep(LOOK_AGAIN);
            }
            is_ours && is_there.is_ok_and(|ready| ready > 0)
        }

        /// The line; none at the end.
        pub(super) fn read(&mut self) -> Option<String> {
            let mut line = [0; LINE];
            let read = rustix::io::retry_on_intr(|| rustix::io::read(stdin(), &mut line));
            let bytes = read.ok().and_then(|length| line.get(..length))?;
            (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

#[cfg(not(unix))]
mod terminal {
    pub(super) fn is_ours() -> bool {
        true
    }

    pub(super) fn throw_away() {}

    /// Standard input, and the line that was read of it.
    pub(super) struct Input(Option<String>);

    impl Input {
        pub(super) const fn new() -> Self {
            Self(None)
        }

        pub(super) fn waits_for_us(&mut self) -> bool {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            self.0 = read.is_ok_and(|length| length > 0).then_some(line);
            true
        }

        pub(super) fn read(&mut self) -> Option<String> {
            self.0.take()
        }
    }
}
