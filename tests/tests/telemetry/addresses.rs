//! Addresses of collectors that cannot be used.

use towline_tests::program::{Place, Ran};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

async fn echo(variables: &[(&str, &str)]) -> Ran {
    let place = Place::new();
    let mut command = place.command(["run", "echo", "-q", "--input", "7"]);
    command.envs(variables.iter().copied());
    let ran = Ran::of(command).await.status(0);
    assert_eq!(ran.stdout.trim(), "7", "{variables:?}");
    ran
}

/// Telemetry never decides whether a job runs: not when nobody is there, be it over TLS or without a scheme, and not when the
/// variables make no sense. What makes none is said.
#[tokio::test]
async fn no_address_keeps_a_job_from_running() {
    for quiet in ["https://127.0.0.1:9", "127.0.0.1:9", "localhost:9", ""] {
        let ran = echo(&[(ENDPOINT, quiet)]).await;
        assert!(!ran.stderr.contains("no spans are sent"), "{}", ran.stderr);
    }
    for said in [
        &[(ENDPOINT, "ftp://127.0.0.1:9")][..],
        &[(ENDPOINT, "http://not a host")],
        &[
            (ENDPOINT, "http://127.0.0.1:9"),
            (PROTOCOL, "carrier-pigeon"),
        ],
        &[
            (ENDPOINT, "http://127.0.0.1:9"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"),
        ],
    ] {
        let ran = echo(said).await;
        assert!(ran.stderr.contains("no spans are sent"), "{}", ran.stderr);
    }
}
