//! WebSockets over TLS, with certificates made for the test.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedKey, IsCa, KeyPair, date_time_ymd,
    generate_simple_self_signed,
};
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};
use tokio_rustls::TlsAcceptor;
use towline_transport::{
    CloseCode, CloseFrame, Closed, Inbound, Transport as _, TransportError, WebSocketOptions,
    WebSocketTransport, testing::suite::Pair, transport_suite,
};
use towline_wire::{Envelope, MessageType};

use crate::raw::End;

struct Server {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    pem: String,
    der: Vec<u8>,
}

impl Server {
    async fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self::with(cert, signing_key).await
    }

    /// A server whose certificate is an authority's own, which is what `openssl req -x509` makes.
    async fn of_an_authority(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        Self::with(params.self_signed(&key).unwrap(), key).await
    }

    async fn with(cert: Certificate, signing_key: KeyPair) -> Self {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            pem: cert.pem(),
            der: cert.der().to_vec(),
        }
    }

    fn url(&self, scheme: &str) -> String {
        format!(
            "{scheme}://localhost:{}",
            self.listener.local_addr().unwrap().port()
        )
    }

    async fn accept(&self) -> Result<impl towline_transport::Transport + use<>, TransportError> {
        let (tcp, peer) = self.listener.accept().await.map_err(TransportError::Io)?;
        let tls = self
            .acceptor
            .accept(tcp)
            .await
            .map_err(TransportError::Io)?;
        WebSocketTransport::accept_on(tls, Some(peer), &WebSocketOptions::server()).await
    }
}

async fn secured() -> Pair {
    let server = Server::new().await;
    let options = WebSocketOptions::client().root_certificates_pem(server.pem.clone());
    let url = server.url("wss");
    let (client, server) = tokio::join!(
        WebSocketTransport::connect_with(&url, &options),
        server.accept()
    );
    Pair::new(client.unwrap(), server.unwrap())
}

transport_suite!(on_wss, secured().await);

#[tokio::test]
async fn a_given_root_is_trusted() {
    let server = Server::new().await;
    let url = server.url("wss");
    for options in [
        WebSocketOptions::client().root_certificates_pem(server.pem.clone()),
        WebSocketOptions::client().root_certificates_der([server.der.clone()]),
    ] {
        let (client, accepted) = tokio::join!(
            WebSocketTransport::connect_with(&url, &options),
            server.accept()
        );
        assert!(client.unwrap().info().confidential);
        accepted.unwrap();
    }
}

/// Connects while trusting what `trusted` shows, and says why not.
async fn connect(server: &Server, trusted: &Server) -> Result<(), String> {
    let options = WebSocketOptions::client().root_certificates_pem(trusted.pem.clone());
    let url = server.url("wss");
    let (client, accepted) = tokio::join!(
        WebSocketTransport::connect_with(&url, &options),
        server.accept()
    );
    assert_eq!(client.is_ok(), accepted.is_ok());
    client.map(drop).map_err(|error| {
        assert!(std::error::Error::source(&error).is_some(), "{error:?}");
        error.to_string()
    })
}

/// The usual certificate of `openssl req -x509` is an authority's own, with a name besides the common one or without. Given
/// as one to trust it is trusted on the server too; its names and its time count, and no other's certificate gains by it.
#[tokio::test]
async fn a_given_authority_may_be_the_server_itself() {
    let named = Server::of_an_authority(&["localhost"], |_| {}).await;
    assert_eq!(connect(&named, &named).await, Ok(()));
    let nameless = Server::of_an_authority(&[], |_| {}).await;
    assert_eq!(connect(&nameless, &nameless).await, Ok(()));

    let elsewhere = Server::of_an_authority(&["elsewhere.example"], |_| {}).await;
    let refused = connect(&elsewhere, &elsewhere).await.unwrap_err();
    assert!(refused.contains("elsewhere.example"), "{refused}");
    let old = Server::of_an_authority(&["localhost"], |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    })
    .await;
    let refused = connect(&old, &old).await.unwrap_err();
    assert!(refused.contains("it has expired"), "{refused}");
    let refused = connect(&named, &nameless).await.unwrap_err();
    assert!(refused.contains("certificate is not trusted"), "{refused}");
}

#[tokio::test]
async fn an_unknown_certificate_is_refused() {
    let server = Server::new().await;
    let other = Server::new().await;
    let url = server.url("wss");
    let options = WebSocketOptions::client().root_certificates_pem(other.pem.clone());
    let (client, accepted) = tokio::join!(
        WebSocketTransport::connect_with(&url, &options),
        server.accept()
    );
    assert!(accepted.is_err());
    let error = client.unwrap_err();
    assert!(matches!(error, TransportError::Setup { .. }), "{error:?}");
    assert!(
        error.to_string().contains("certificate is not trusted"),
        "{error}"
    );
}

/// The operating system's trust is the default, and it does not know our certificate.
#[tokio::test]
async fn a_self_made_certificate_is_not_trusted_by_default() {
    let server = Server::new().await;
    let url = server.url("wss");
    let (client, accepted) = tokio::join!(WebSocketTransport::connect(&url), server.accept());
    assert!(accepted.is_err());
    assert!(
        matches!(client, Err(TransportError::Setup { .. })),
        "{client:?}"
    );
}

#[tokio::test]
async fn bad_roots_are_refused_before_anything_is_sent() {
    for (options, hint) in [
        (
            WebSocketOptions::client().root_certificates_pem("no pem"),
            "no root certificate",
        ),
        (
            WebSocketOptions::client().root_certificates_der([b"junk".to_vec()]),
            "cannot be used",
        ),
        (
            WebSocketOptions::client().root_certificates_der([]),
            "no root certificate",
        ),
    ] {
        let error = WebSocketTransport::connect_with("wss://localhost:1/arcp", &options)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(hint), "{error}");
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn a_server_without_tls_is_recognised() {
    let server = Server::new().await;
    let url = server.url("wss");
    let plain = async {
        let (mut tcp, _) = server.listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        tcp
    };
    let (client, _tcp) = tokio::join!(WebSocketTransport::connect(&url), plain);
    let error = client.unwrap_err();
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
}

/// [ARCP 4-6] Over TLS too, who sends too much learns why.
#[tokio::test]
async fn a_message_above_the_limit_over_tls() {
    let server = Server::new().await;
    let options = WebSocketOptions::client().root_certificates_pem(server.pem.clone());
    let url = server.url("wss");
    let (client, server) = tokio::join!(
        WebSocketTransport::connect_with(&url, &options),
        server.accept()
    );
    let (mut client, mut server) = (End::of(client.unwrap()), End::of(server.unwrap()));
    let big = format!(
        r#"{{"type":"x","payload":{{"x":"{}"}}}}"#,
        "x".repeat(8 << 20)
    );
    let error = Envelope::new(MessageType::SESSION_ERROR);
    let goodbye = CloseFrame::new(CloseCode::TOO_BIG, "too big");
    let peer = async {
        client
            .sink
            .send(Envelope::decode_text(big).unwrap())
            .await
            .unwrap();
        assert_eq!(
            client.source.receive().await,
            Some(Inbound::Envelope(error.clone()))
        );
        let closed = client.source.receive().await;
        assert_eq!(
            closed,
            Some(Inbound::Closed(Closed::ByPeer(Some(goodbye.clone()))))
        );
        drop(client);
    };
    let owner = async {
        assert_eq!(
            server.source.receive().await,
            Some(Inbound::TooBig {
                limit: 4 << 20,
                fatal: true
            })
        );
        server.sink.send(error.clone()).await.unwrap();
        server.sink.close(&goodbye).await.unwrap();
    };
    tokio::join!(peer, owner);
}
