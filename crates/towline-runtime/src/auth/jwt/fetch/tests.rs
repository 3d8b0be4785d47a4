use std::sync::Arc;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, pki_types::PrivateKeyDer},
};

use super::*;

/// Answers one request with these bytes and gives the request's head.
async fn answer(mut socket: impl AsyncRead + AsyncWrite + Unpin, response: &[u8]) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    // A client that has seen enough hangs up; that is what some tests are about.
    let _ = socket.write_all(response).await;
    let _ = socket.shutdown().await;
    String::from_utf8(head).unwrap()
}

fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Fetches from a server that gives `response`.
async fn fetch(response: Vec<u8>, options: JwksOptions) -> Result<Vec<u8>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let fetch = over_http(&url, &options).unwrap();
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        answer(socket, &response).await
    };
    let (fetched, head) = tokio::join!(fetch(), server);
    assert!(head.starts_with("GET /keys HTTP/1.1\r\n"), "{head}");
    fetched
}

#[tokio::test]
async fn a_body_comes_whole() {
    assert_eq!(
        fetch(ok("{}"), JwksOptions::new()).await.as_deref(),
        Ok(b"{}".as_slice())
    );
    let chunked =
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
            .to_vec();
    assert_eq!(
        fetch(chunked, JwksOptions::new()).await.as_deref(),
        Ok(b"{}".as_slice())
    );
}

#[tokio::test]
async fn a_large_body_is_refused() {
    let options = || JwksOptions::new().max_bytes(10);
    assert!(fetch(ok("0123456789"), options()).await.is_ok());
    assert!(
        fetch(ok("0123456789a"), options())
            .await
            .unwrap_err()
            .contains("larger than 10 bytes")
    );
}

#[tokio::test]
async fn other_answers_are_refused() {
    let redirect =
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
            .to_vec();
    assert!(
        fetch(redirect, JwksOptions::new())
            .await
            .unwrap_err()
            .contains("302")
    );
    let missing = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec();
    assert!(
        fetch(missing, JwksOptions::new())
            .await
            .unwrap_err()
            .contains("404")
    );
}

/// A server that never answers costs a deadline, not the fetch.
#[tokio::test]
async fn a_silent_server_has_a_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let options = JwksOptions::new().timeout(Duration::from_millis(20));
    let failed = over_http(&url, &options).unwrap()().await;
    assert!(failed.is_err());
}

/// [ARCP 6.1-4] Keys come over HTTPS from a server whose certificate is trusted, and from no other.
#[tokio::test]
async fn https_checks_the_certificate() {
    // An authority's own, as `openssl req -x509` makes them: it is trusted when it is given, as any other.
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let issued = params.self_signed(&signing_key).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}/keys",
        listener.local_addr().unwrap().port()
    );

    let trusting = JwksOptions::new().root_certificate_pem(issued.pem());
    for (options, trusted) in [(trusting, true), (JwksOptions::new(), false)] {
        let server = async {
            let (socket, _) = listener.accept().await.unwrap();
            match acceptor.accept(socket).await {
                Ok(socket) => drop(answer(socket, &ok("{}")).await),
                Err(_) => assert!(!trusted, "the handshake failed"),
            }
        };
        let fetch = over_http(&url, &options).unwrap();
        let (fetched, ()) = tokio::join!(fetch(), server);
        assert_eq!(fetched.is_ok(), trusted, "{fetched:?}");
    }
}

/// [ARCP 14-8] An error names where, and nothing that may be secret there.
#[tokio::test]
async fn errors_hold_no_secret_of_the_url() {
    for url in [
        "http://user:hush@id.example/jwks?key=hush#hush",
        "https://user:hush@:x/jwks?key=hush",
        "user:hush@id.example/jwks?hush",
        "ftp://user:hush@id.example/?hush",
        "data:,hush?hush",
    ] {
        let Err(error) = over_http(url, &JwksOptions::new()) else {
            panic!("{url} was taken");
        };
        let told = error.to_string();
        let hushed = told.matches("hush").count() == usize::from(url.starts_with("data:"));
        assert!(hushed, "{told}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://user:hush@{address}/jwks?key=hush");
    let failed = over_http(&url, &JwksOptions::new()).unwrap()()
        .await
        .unwrap_err();
    assert!(!failed.contains("hush"), "{failed}");
}
