//! The way from the runtime to the launcher, and from the launcher to its second stage: an order and its descriptors go over
//! standard input, which is a socket, in one message.
//!
//! Neither arguments nor the environment say anything: both can be seen by others, and an environment may steer the launcher
//! itself before it confined anything.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read as _, Seek as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    fs::MemfdFlags,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags,
    },
};
use serde::{Deserialize, Serialize};

use super::{network::Ordered, report::Said};
use crate::limits::Limits;

/// What the first stage tells the second.
pub(super) const INNER: &str = "inner";

/// The status when the program was not run, as shells have it.
pub(super) const NOT_RUN: u8 = 126;

/// As many descriptors as the kernel takes in a message.
pub(super) const MAX_DESCRIPTORS: usize = 253;

/// How a program is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// In namespaces of its own.
    Namespaces,
    /// Without: Landlock, seccomp and a sweep alone.
    Plain,
}

/// What a program gets of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Access {
    /// It may read there.
    Read,
    /// It may read there, and run programs.
    Run,
    /// It may read, and change, make and remove files there.
    ReadWrite,
    /// It may change, make and remove files there, and not read.
    Write,
}

impl Access {
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::ReadWrite | Self::Write)
    }
}

/// A place in an order; its descriptor is the one at the same position.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Granted {
    pub(super) path: String,
    pub(super) directory: bool,
    pub(super) access: Access,
    /// The operator's own gift, which may lie inside what is hidden.
    pub(super) own: bool,
}

/// What a launcher is told. Its descriptors, in this order: standard input, the program, the directory to start in, one for
/// each granted place, one for each that is passed on, and where the listener of a door inside goes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) mode: Mode,
    /// Only find out what can be held; run nothing.
    pub(super) probe: bool,
    pub(super) program: String,
    pub(super) script: bool,
    pub(super) arg0: String,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) directory: String,
    pub(super) granted: Vec<Granted>,
    pub(super) passed: Vec<String>,
    pub(super) hidden: Vec<String>,
    pub(super) limits: Limits,
    pub(super) door: Option<Ordered>,
}

/// The descriptors of an order, by what they are.
#[derive(Debug)]
pub(super) struct Descriptors {
    pub(super) stdin: OwnedFd,
    pub(super) program: OwnedFd,
    pub(super) directory: OwnedFd,
    pub(super) granted: Vec<OwnedFd>,
    pub(super) passed: Vec<OwnedFd>,
    /// For the first stage alone.
    pub(super) door: Option<OwnedFd>,
}

impl Descriptors {
    fn sort(order: &Order, all: Vec<OwnedFd>) -> Option<Self> {
        let mut all = all.into_iter();
        let (stdin, program, directory) = (all.next()?, all.next()?, all.next()?);
        let granted: Vec<_> = all.by_ref().take(order.granted.len()).collect();
        let passed: Vec<_> = all.by_ref().take(order.passed.len()).collect();
        let door = all.next();
        let whole = granted.len() == order.granted.len() && passed.len() == order.passed.len();
        whole.then_some(Self {
            stdin,
            program,
            directory,
            granted,
            passed,
            door,
        })
    }

    /// Those that go on to the second stage.
    pub(super) fn all(&self) -> Vec<BorrowedFd<'_>> {
        [&self.stdin, &self.program, &self.directory]
            .into_iter()
            .chain(&self.granted)
            .chain(&self.passed)
            .map(AsFd::as_fd)
            .collect()
    }
}

/// Sends an order with its descriptors. Takes no time: the text goes as a file in memory, the message is one byte.
pub(super) fn send(to: impl AsFd, order: &Order, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut text = File::from(rustix::fs::memfd_create("order", MemfdFlags::CLOEXEC)?);
    text.write_all(&serde_json::to_vec(order)?)?;
    let mut all = vec![text.as_fd()];
    all.extend_from_slice(descriptors);
    let rights = SendAncillaryMessage::ScmRights(&all);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if all.len() > MAX_DESCRIPTORS || !ancillary.push(rights) {
        return Err(io::Error::other("too many files and directories"));
    }
    rustix::net::sendmsg(
        to,
        &[IoSlice::new(b"o")],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// Takes an order.
pub(super) fn receive(from: impl AsFd) -> io::Result<(Order, Descriptors)> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    rustix::net::recvmsg(
        from,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut all = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            all.extend(descriptors);
        }
    }
    if all.is_empty() {
        return Err(io::Error::other("there is no order on standard input"));
    }
    let mut text = File::from(all.remove(0));
    let mut json = Vec::new();
    text.rewind()?;
    text.read_to_end(&mut json)?;
    let order: Order = serde_json::from_slice(&json)?;
    let descriptors = Descriptors::sort(&order, all)
        .ok_or_else(|| io::Error::other("the order has too few descriptors"))?;
    Ok((order, descriptors))
}

/// Writes a line; whether somebody still reads it shows elsewhere.
pub(super) fn tell(to: &mut UnixStream, said: &Said) {
    if let Ok(mut line) = serde_json::to_vec(said) {
        line.push(b'\n');
        let _ = to.write_all(&line);
    }
}
