//! The one way out a program may have: a port on its loopback, behind which somebody of the runtime's decides.
//!
//! In a network of its own nothing else is there: the launcher sets its loopback up, listens on it before the program begins,
//! and hands the listening socket to the runtime, for a socket stays in the network it was made in. Without such a network
//! the runtime listens on the machine's loopback, and Landlock keeps the program to that port; which is less, see
//! [`Door::open`].

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, socket_with,
};
use tokio::io::Interest;

use super::{
    kernel::Kernel,
    network::{Network, Ordered, PORT},
    report::Refusal,
};

/// A port that one program may connect to, and nothing else. Give it to a [`Plan`](super::Plan), start the program, then take
/// its [`Door::listener`].
#[derive(Debug)]
pub struct Door {
    port: u16,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Inside {
        ours: UnixStream,
        /// Until a plan has it.
        theirs: Option<OwnedFd>,
    },
    Beside(TcpListener),
}

impl Door {
    /// Makes a door for a program that this kernel holds.
    ///
    /// Without namespaces a program can be kept to a port and not to an address, so it reaches that port of other machines as
    /// well: whoever listens there on purpose is reached past the proxy. `by_port` says that this is enough.
    ///
    /// # Errors
    /// The program cannot be kept to it here.
    pub fn open(kernel: &Kernel, by_port: bool) -> Result<Self, Refusal> {
        let broken = |error: io::Error| Refusal::Network(error.to_string());
        match kernel.network(by_port)? {
            Network::Namespace => {
                let (ours, theirs) = UnixStream::pair().map_err(broken)?;
                let theirs = Some(theirs.into());
                let way = Way::Inside { ours, theirs };
                Ok(Self { port: PORT, way })
            }
            Network::Port => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(broken)?;
                let port = listener.local_addr().map_err(broken)?.port();
                let way = Way::Beside(listener);
                Ok(Self { port, way })
            }
        }
    }

    /// The port, on 127.0.0.1 as the program sees it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether others on this machine reach it as well, so that who knocks has to say a word.
    pub fn is_shared(&self) -> bool {
        matches!(self.way, Way::Beside(_))
    }

    pub(super) fn ordered(&self) -> Ordered {
        Ordered {
            port: self.port,
            inside: !self.is_shared(),
        }
    }

    /// The launcher's end, once.
    pub(super) fn theirs(&mut self) -> Option<OwnedFd> {
        match &mut self.way {
            Way::Inside { theirs, .. } => theirs.take(),
            Way::Beside(_) => None,
        }
    }

    /// The socket that listens behind it. Call it once the program began.
    ///
    /// # Errors
    /// The launcher opened none.
    pub async fn listener(self) -> io::Result<tokio::net::TcpListener> {
        let listener = match self.way {
            Way::Beside(listener) => listener,
            Way::Inside { ours, theirs } => {
                drop(theirs);
                ours.set_nonblocking(true)?;
                let ours = tokio::net::UnixStream::from_std(ours)?;
                TcpListener::from(ours.async_io(Interest::READABLE, || receive(&ours)).await?)
            }
        };
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    }
}

fn receive(from: &tokio::net::UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(
        from,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        flags,
    )?;
    let found = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    found.ok_or_else(|| io::Error::other("the launcher opened no port for the program"))
}

/// In the program's own network, before it begins: sets the loopback up, listens on the port, and hands the listener over.
/// Nobody listens for a try.
pub(super) fn open_inside(port: u16, to: Option<&OwnedFd>) -> io::Result<()> {
    loopback_up()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let Some(to) = to else { return Ok(()) };
    let descriptors = [listener.as_fd()];
    let rights = SendAncillaryMessage::ScmRights(&descriptors);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(rights) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    let byte = [IoSlice::new(b"l")];
    rustix::net::sendmsg(to, &byte, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Asks the kernel's routing socket to set the first device of this network, its loopback, up.
fn loopback_up() -> io::Result<()> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    // Routing is protocol 0 of this family.
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    let (is_up, nothing) = (1_u32, 0_u32);
    let mut message = Vec::with_capacity(REQUEST as usize);
    message.extend(REQUEST.to_ne_bytes());
    message.extend(libc::RTM_NEWLINK.to_ne_bytes());
    message.extend(ANSWERED.to_ne_bytes());
    // Its number among the requests, and whose.
    message.extend(1_u32.to_ne_bytes());
    message.extend(nothing.to_ne_bytes());
    // Of any family and kind, device 1: flags, and which of them are meant.
    message.extend(nothing.to_ne_bytes());
    message.extend(1_i32.to_ne_bytes());
    message.extend(is_up.to_ne_bytes());
    message.extend(is_up.to_ne_bytes());
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 64];
    let (read, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let code = answer[..read].get(HEADER..HEADER + 4);
    let code = code.and_then(|code| Some(i32::from_ne_bytes(code.try_into().ok()?)));
    match code {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::Error::other("the kernel's answer is too short")),
    }
}

/// A request's length: a header, and what is said of a device.
const REQUEST: u32 = 32;
/// The length of a header.
const HEADER: usize = 16;
/// A request that is to be answered.
const ANSWERED: u16 = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
