//! The dashboard as it is served. What it does in a browser is tested by `dashboard/tests`.

use crate::support::{Place, TOKEN};

/// The link is printed before the listening line, without a token that somebody chose; the page knows its endpoint, and the
/// policy lets only its own files run.
#[test]
fn the_page_is_at_the_root() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--store", "memory", "--path", "/agents"]);
    let link = format!("dashboard: http://{}/", server.address());
    assert_eq!(server.before, [link]);
    let page = server.http("/", &[]);
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    assert!(page.contains("content=\"/agents\""), "{page}");
    let head = page.split("\r\n\r\n").next().unwrap().to_lowercase();
    for header in [
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:",
        "connect-src 'self'\r\n",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-cache",
    ] {
        assert!(head.contains(header), "no `{header}` in {head}");
    }
    let script = page
        .split('"')
        .find(|text| text.starts_with("/assets/") && text.ends_with(".js"));
    let script = server.http(script.unwrap(), &[]);
    let head = script.split("\r\n\r\n").next().unwrap().to_lowercase();
    for header in [
        "http/1.1 200",
        "content-type: text/javascript",
        "immutable",
        "nosniff",
        "content-security-policy: default-src 'none'",
    ] {
        assert!(head.contains(header), "no `{header}` in {head}");
    }
    assert!(
        server
            .http("/assets/../index.html", &[])
            .starts_with("HTTP/1.1 404")
    );
}

/// [ARCP 4-8] The page is for the hosts of its endpoint.
#[test]
fn another_host_gets_no_page() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    let evil = server.http("/", &[("Host", "evil.example")]);
    assert!(evil.starts_with("HTTP/1.1 403"), "{evil}");
}

#[test]
fn without_the_dashboard_the_root_is_free() {
    let place = Place::new();
    let refused = place.run(["serve", "--path", "/", "--listen", "127.0.0.1:0"]);
    refused.status(2).says(&["--no-dashboard"]);
    let server = place.serve(&["--token", TOKEN, "--store", "memory", "--no-dashboard"]);
    assert!(server.before.is_empty(), "{:?}", server.before);
    assert!(server.http("/", &[]).starts_with("HTTP/1.1 404"));
    let server = place.serve(&[
        "--token",
        TOKEN,
        "--store",
        "memory",
        "--no-dashboard",
        "--path",
        "/",
    ]);
    assert!(server.http("/", &[]).starts_with("HTTP/1.1 426"));
}

#[test]
fn the_file_may_switch_it_off_or_name_other_runtimes() {
    let place = Place::new();
    let file = |keys: &str| {
        place.write("towline.toml", format!("[server]\n{keys}\n"));
    };
    file("dashboard = false");
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    assert!(server.http("/", &[]).starts_with("HTTP/1.1 404"));
    drop(server);
    file("dashboard_connect = [\"wss://other.example/arcp\"]");
    let server = place.serve(&["--token", TOKEN, "--store", "memory"]);
    assert!(
        server
            .http("/", &[])
            .contains("connect-src 'self' wss://other.example\r\n")
    );
    drop(server);
    file("dashboard_connect = [\"*\"]");
    let refused = place.run(["serve", "--listen", "127.0.0.1:0", "--store", "memory"]);
    refused.status(2).says(&["dashboard_connect", "wss://HOST"]);
}
