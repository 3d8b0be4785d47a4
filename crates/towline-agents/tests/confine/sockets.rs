//! No network by any door, and no socket by path.

use std::{net::TcpListener, os::unix::net::UnixListener};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use towline_agents::confine::{Access, Door, Network};

use super::{attempts, both, place, python, run, scratch, start};

/// [ARCP 18-1] Without `net.fetch` there is no TCP (by MPTCP, fast open, listening), no UDP, no raw or netlink socket.
#[tokio::test]
async fn there_is_no_network_by_any_door() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let setup = format!("to = ('127.0.0.1', {port})");
    let tries = [
        ("tcp", "socket.create_connection(to, 2)"),
        (
            "mptcp",
            "s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)\ns.connect(to)",
        ),
        (
            "fastopen",
            "s = socket.socket()\ns.sendto(b'x', 0x20000000, to)",
        ),
        ("listen", "s = socket.socket()\ns.listen()"),
        ("bind", "s = socket.socket()\ns.bind(('127.0.0.1', 0))"),
        (
            "udp",
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.sendto(b'x', to)",
        ),
        (
            "udp6",
            "s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
        ),
        (
            "ping",
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)",
        ),
        (
            "raw",
            "s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)",
        ),
        (
            "packet",
            "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300)",
        ),
        (
            "netlink",
            "s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
        ),
        ("vsock", "s = socket.socket(40, socket.SOCK_STREAM)"),
        (
            "kernel crypto",
            "s = socket.socket(38, socket.SOCK_SEQPACKET)",
        ),
        ("ring", "call(425, 8, ctypes.create_string_buffer(120))"),
        ("old numbers", "call(0x40000000 + 41, 2, 1, 0)"),
    ];
    for kernel in both().await {
        let ran = run(python(&attempts(&setup, &tries)), &kernel).await;
        assert_eq!(ran.stdout, "", "{ran:?}");
        assert!(ran.status.success(), "{ran:?}");
    }
}

/// [ARCP 18-1] No Unix socket: not where the program may read and write the file, and not through a pair of sockets, of
/// which those for single messages can be told another address.
#[tokio::test]
async fn there_is_no_socket_by_path() {
    let (_directory, path) = scratch();
    let _stream = UnixListener::bind(path.join("stream")).unwrap();
    let messages = std::os::unix::net::UnixDatagram::bind(path.join("messages")).unwrap();
    messages.set_nonblocking(true).unwrap();
    let setup = format!("d = {:?}", path.to_str().unwrap());
    let tries = [
        (
            "stream",
            "s = socket.socket(socket.AF_UNIX)\ns.connect(d + '/stream')",
        ),
        (
            "listening",
            "s = socket.socket(socket.AF_UNIX)\ns.bind(d + '/own')",
        ),
        (
            "messages of a pair",
            "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\na.sendto(b'x', d + '/messages')",
        ),
        (
            "raw messages of a pair",
            "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW)\na.sendto(b'x', d + '/messages')",
        ),
        (
            "a stream of a pair",
            "a, b = socket.socketpair()\na.sendmsg([b'x'], [], 0, d + '/messages')",
        ),
        (
            "another pair",
            "a, b = socket.socketpair()\na.connect(d + '/stream')",
        ),
        ("internet pair", "socket.socketpair(socket.AF_INET)"),
    ];
    for kernel in both().await {
        let plan = python(&attempts(&setup, &tries))
            .grant(place(&path), Access::Read)
            .grant(place(&path), Access::Write);
        let ran = run(plan, &kernel).await;
        assert_eq!(ran.stdout, "", "{ran:?}");
        assert!(messages.recv(&mut [0; 8]).is_err(), "nothing came");
    }
}

/// Programs talk to what they start.
#[tokio::test]
async fn pairs_of_sockets_work() {
    for kernel in both().await {
        let script =
            "import socket; a, b = socket.socketpair(); a.send(b'hi'); print(b.recv(2).decode())";
        assert_eq!(run(python(script), &kernel).await.stdout, "hi\n");
    }
}

/// [ARCP 18-2] With a door a program connects to that, and to nothing else by any way: not to another port, not over IPv6 in
/// any notation, not by MPTCP or fast open, not by UDP, raw or netlink sockets; it listens to nothing and looks no name up.
#[tokio::test]
async fn a_door_is_all_there_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = listener.local_addr().unwrap().port();
    let tries = [
        ("tcp", "socket.create_connection(other, 2)"),
        (
            "unspecified",
            "socket.create_connection(('0.0.0.0', other[1]), 2)",
        ),
        ("tcp6", "socket.create_connection(('::1', door[1]), 2)"),
        (
            "mapped",
            "s = socket.socket(socket.AF_INET6)\ns.connect(('::ffff:127.0.0.1', door[1]))",
        ),
        (
            "mptcp",
            "s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)\ns.connect(door)",
        ),
        (
            "fastopen",
            "s = socket.socket()\ns.sendto(b'x', 0x20000000, other)",
        ),
        (
            "fastopen to the door",
            "s = socket.socket()\ns.sendto(b'x', 0x20000000, door)",
        ),
        (
            "fastopen by a message",
            "s = socket.socket()\ns.sendmsg([b'x'], [], 0x20000000, other)",
        ),
        (
            "fastopen by an option",
            "s = socket.socket()\ns.setsockopt(6, 30, 1)\ns.connect(other)",
        ),
        ("listen", "s = socket.socket()\ns.listen()"),
        ("bind", "s = socket.socket()\ns.bind(('127.0.0.1', 0))"),
        (
            "udp",
            "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.sendto(b'x', door)",
        ),
        ("udp6", "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)"),
        (
            "ping",
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)",
        ),
        ("raw", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)"),
        (
            "sctp",
            "socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)",
        ),
        (
            "packet",
            "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x300)",
        ),
        (
            "netlink",
            "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
        ),
        ("unix", "socket.socket(socket.AF_UNIX)"),
        ("vsock", "socket.socket(40, socket.SOCK_STREAM)"),
        ("name", "socket.getaddrinfo('localhost.test', 80)"),
        ("ring", "call(425, 8, ctypes.create_string_buffer(120))"),
    ];
    for (kernel, by) in both()
        .await
        .into_iter()
        .zip([Network::Namespace, Network::Port])
    {
        let mut door = Door::open(&kernel, true).unwrap();
        let port = door.port();
        let setup = format!("other, door = ('127.0.0.1', {other}), ('127.0.0.1', {port})");
        let last = "s = socket.create_connection(door, 10)\ns.sendall(b'hello\\n')\nprint(s.makefile().readline())";
        let mut tries = tries.to_vec();
        tries.push(("", last));
        let plan = python(&attempts(&setup, &tries)).door(&mut door);
        let started = start(plan, &kernel, None).await.unwrap();
        assert_eq!(started.report.network, Some(by));
        let listener = door.listener().await.unwrap();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut said = [0; 6];
            stream.read_exact(&mut said).await.unwrap();
            stream.write_all(b"welcome\n").await.unwrap();
            (said, listener)
        });
        let ran = started.end().await;
        assert_eq!(ran.stdout.trim(), "welcome", "{ran:?}");
        assert_eq!(&served.await.unwrap().0, b"hello\n");
    }
}

/// [ARCP 18-2] Where a program can be kept to a port and not to an address, it gets no network unless that was said to be
/// enough.
#[tokio::test]
async fn a_port_alone_is_not_enough() {
    let [namespaces, plain] = both().await;
    assert!(Door::open(&namespaces, false).is_ok());
    let refusal = Door::open(&plain, false).unwrap_err().to_string();
    assert!(refusal.contains("not to an address"), "{refusal}");
}

/// With a door a program finds whom the system trusts, and not the keys beside that.
#[tokio::test]
async fn whom_the_system_trusts_is_there() {
    for kernel in both().await {
        let script = "import os, ssl
print(len(ssl.create_default_context().get_ca_certs()) > 0, os.path.isdir('/etc/ssl/certs'))
try: print(os.listdir('/etc/ssl/private'))
except OSError: print('refused')";
        if !std::path::Path::new("/etc/ssl/private").exists() {
            eprintln!("there is no /etc/ssl/private here: that it is refused is not shown");
        }
        let mut door = Door::open(&kernel, true).unwrap();
        let ran = run(python(script).door(&mut door), &kernel).await;
        let expected = std::path::Path::new("/etc/ssl/certs/ca-certificates.crt").exists();
        let expected = if expected { "True True\nrefused\n" } else { "" };
        assert!(ran.stdout.contains(expected), "{ran:?}");
    }
}
