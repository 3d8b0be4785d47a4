//! The runtime's end of the socket to a launcher.

use std::{
    io,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream as Socket,
    },
    process::{Command, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::UnixStream,
};

use super::{
    exchange::{self, Order},
    report::{Refusal, Report, Said},
};

/// More than any launcher says.
const LONGEST: u64 = 1024 * 1024;

/// Holds a confined program: as long as this is there, and the process it is in, the program may run. When it goes, by
/// whatever way, the launcher ends the program and everything it started.
#[derive(Debug)]
pub struct Hold {
    socket: Option<Socket>,
    said: Option<tokio::io::Take<BufReader<UnixStream>>>,
}

impl Hold {
    pub(super) fn new(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Some(socket),
            said: None,
        })
    }

    /// Waits until the program begins, and says what holds it. Call it after the command was started and dropped.
    ///
    /// # Errors
    /// It does not begin, and why.
    ///
    /// # Cancel safety
    /// Not cancel safe: what was read so far is lost, so drop the hold with it.
    pub async fn begun(&mut self) -> Result<Report, Refusal> {
        match self.hear().await? {
            Said::Got(report) => Ok(report),
            Said::Refused(refusal) => Err(refusal),
            Said::Ended { .. } => Err(silent()),
        }
    }

    async fn hear(&mut self) -> Result<Said, Refusal> {
        let broken = |error: io::Error| Refusal::CannotConfine(error.to_string());
        if let Some(socket) = self.socket.take() {
            let stream = UnixStream::from_std(socket).map_err(broken)?;
            self.said = Some(BufReader::new(stream).take(LONGEST));
        }
        let mut line = Vec::new();
        if let Some(said) = &mut self.said {
            said.read_until(b'\n', &mut line).await.map_err(broken)?;
        }
        serde_json::from_slice(&line).map_err(|_| silent())
    }
}

/// Sets the command up, and puts the order where the launcher will read it.
pub(super) fn hand_over(
    launcher: &mut Command,
    order: &Order,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<Hold> {
    let (ours, theirs) = Socket::pair()?;
    exchange::send(&ours, order, descriptors)?;
    launcher
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)));
    Hold::new(ours)
}

fn silent() -> Refusal {
    Refusal::CannotConfine(
        "the launcher ended without a word; is the program that `launcher` names one?".to_owned(),
    )
}
