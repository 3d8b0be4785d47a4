//! No network by any door, and no socket by path.

use std::{net::TcpListener, os::unix::net::UnixListener};

use towline_agents::confine::Access;

use super::{attempts, both, place, python, run, scratch};

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
