//! URLs: pattern × value.

use super::{super::ValueError, *};

/// [ARCP 9.2-4] In the host `*` is one label and `**` several; an empty label is none.
#[test]
fn hosts_match_by_label() {
    table(
        Kind::Url,
        &[
            (
                "https://example.com/**",
                &[
                    "+https://example.com/",
                    "+https://example.com",
                    "+https://example.com/a/b",
                ],
            ),
            (
                "https://*.example.com/**",
                &[
                    "+https://api.example.com/x",
                    "-https://example.com/x",
                    "-https://a.b.example.com/x",
                    "-https://.example.com/x",
                    "-https://evil.com/.example.com/x",
                    "-https://evil.com/x?.example.com/",
                    "-https://evil.com#.example.com/",
                    "-https://evil.com\\.example.com/",
                    "-https://evil.com%2F.example.com/x",
                    "-https://evil.com%00.example.com/x",
                    "-https://api.example.com.evil.com/x",
                    "-https://api.example.com./x",
                    "-https://apiexample.com/",
                ],
            ),
            (
                "https://**.example.com/**",
                &[
                    "+https://a.example.com/",
                    "+https://a.b.c.example.com/x",
                    "-https://example.com/",
                    "-https://a..example.com/",
                ],
            ),
            (
                "https://*/**",
                &[
                    "+https://localhost/",
                    "-https://example.com/",
                    "-https://[::1]/",
                    "-https://127.0.0.1/",
                ],
            ),
            (
                "https://**/**",
                &[
                    "+https://example.com/a",
                    "+https://[::1]/a",
                    "+https://127.0.0.1/",
                    "-http://example.com/",
                ],
            ),
            (
                "https://api-?.example.com/",
                &[
                    "+https://api-1.example.com/",
                    "-https://api-.example.com/",
                    "-https://api-11.example.com/",
                ],
            ),
            (
                "https://api-*.example.com/",
                &[
                    "+https://api-eu-1.example.com/",
                    "-https://api-1.x.example.com/",
                ],
            ),
            (
                "https://{a,b}.example.com/",
                &[
                    "+https://a.example.com/",
                    "+https://b.example.com/",
                    "-https://c.example.com/",
                ],
            ),
            (
                "https://[ab]x.example/",
                &["+https://ax.example/", "-https://cx.example/"],
            ),
            (
                "https://example.com*/",
                &[
                    "+https://example.com/",
                    "+https://example.community/",
                    "-https://example.com.evil/",
                ],
            ),
            (
                "https://EXAMPLE.com/**",
                &["+https://example.com/", "+https://Example.COM/A"],
            ),
        ],
    );
}

/// [ARCP 9.2-4] Addresses and international names are normalised on both sides.
#[test]
fn hosts_are_normalised() {
    table(
        Kind::Url,
        &[
            (
                "https://127.0.0.1/**",
                &[
                    "+https://127.1/",
                    "+https://0x7f.0.0.1/",
                    "+https://2130706433/",
                    "-https://127.0.0.2/",
                ],
            ),
            ("https://0x7f.1/**", &["+https://127.0.0.1/"]),
            (
                "http://[::1]/**",
                &[
                    "+http://[::1]/",
                    "+http://[0:0:0:0:0:0:0:1]/",
                    "-http://[::2]/",
                    "-http://1/",
                ],
            ),
            (
                "http://[::1]:8080/**",
                &["+http://[::1]:8080/a", "-http://[::1]/a"],
            ),
            ("http://[2001:DB8::1]/**", &["+http://[2001:db8:0::1]/"]),
            (
                "https://bücher.example/**",
                &[
                    "+https://xn--bcher-kva.example/",
                    "+https://BÜCHER.example/",
                    "-https://bucher.example/",
                ],
            ),
            (
                "https://xn--bcher-kva.example/**",
                &["+https://bücher.example/x"],
            ),
            (
                "https://*.bücher.example/**",
                &["+https://a.bücher.example/", "-https://bücher.example/"],
            ),
            (
                "https://example.com/**",
                &[
                    "+https://ｅxample.com/",
                    "+https://ex%61mple.com/",
                    "+https://example。com/",
                    "-https://example.com。evil.org/",
                ],
            ),
        ],
    );
}

/// [ARCP 9.2-4] User information is denied, and no trick with `@`, `?`, `#` or `\` moves the host.
#[test]
fn hosts_cannot_be_disguised() {
    table(
        Kind::Url,
        &[
            (
                "https://good.com/**",
                &[
                    "-https://user@good.com/",
                    "-https://user:secret@good.com/",
                    "-https://@good.com/",
                    "-https://:@good.com/",
                    "-https://good.com@evil.com/",
                    "-https://good.com:443@evil.com/",
                    "-https://evil.com/https://good.com/",
                    "-https://evil.com?https://good.com/",
                    "-https://evil.com#@good.com/",
                    "-https://evil.com\\@good.com/",
                    "-https://good.com\\@evil.com/",
                    "-https:\\\\good.com\\",
                    "-https:///good.com/",
                    "-https:good.com/",
                    "-https:/good.com/",
                    "-//good.com/",
                    "-good.com/",
                    "-https://good.com%40evil.com/",
                    "-https://good.com%2f@evil.com/",
                    "-https://good.com.evil.com/",
                    "-https://goodXcom/",
                    "-https://good.com./",
                    "- https://good.com/",
                    "-https://good.com/ ",
                    "-https://go\tod.com/",
                    "-https://good.com/\r\nHost: evil.com",
                    "-javascript://good.com/%0aalert(1)",
                    "-file://good.com/etc",
                    "-ftp://good.com/",
                    "-https://",
                    "+https://good.com/?next=https://user@evil.com/",
                    "+https://good.com/path/with@sign",
                    "+https://good.com?x=/../..",
                    "+https://good.com#/../..",
                ],
            ),
            (
                "https://**/**",
                &[
                    "-https://user@good.com/",
                    "-https://a..b/",
                    "-https://good.com./",
                ],
            ),
        ],
    );
}

/// [ARCP 9.2-4] The default port is dropped; another one has to be named.
#[test]
fn ports_are_compared_as_numbers() {
    table(
        Kind::Url,
        &[
            (
                "https://a.b/**",
                &[
                    "+https://a.b:443/",
                    "-https://a.b:8443/",
                    "-https://a.b:80/",
                    "-http://a.b:443/",
                ],
            ),
            (
                "https://a.b:443/**",
                &["+https://a.b/", "+https://a.b:443/", "+https://a.b:0443/"],
            ),
            (
                "http://a.b:8080/**",
                &[
                    "+http://a.b:8080/",
                    "-http://a.b/",
                    "-http://a.b:80801/",
                    "-http://a.b:808/",
                ],
            ),
            (
                "http://a.b:*/**",
                &[
                    "+http://a.b/",
                    "+http://a.b:1/",
                    "+http://a.b:65535/",
                    "-http://a.b:65536/",
                ],
            ),
            (
                "http://a.b:80*/",
                &["+http://a.b/", "+http://a.b:8080/", "-http://a.b:443/"],
            ),
            (
                "http://a.b:{80,81}/",
                &["+http://a.b/", "+http://a.b:81/", "-http://a.b:82/"],
            ),
            (
                "*://a.b/**",
                &[
                    "+http://a.b/",
                    "+https://a.b/",
                    "+wss://a.b/",
                    "-http://a.b:443/",
                    "-https://a.b:80/",
                ],
            ),
            (
                "ws*://a.b/**",
                &["+ws://a.b/", "+wss://a.b/", "-http://a.b/"],
            ),
            ("HTTPS://a.b/**", &["+https://a.b/", "+HTTPS://A.B/"]),
            (
                "http{,s}://a.b/",
                &["+http://a.b/", "+https://a.b/", "-ws://a.b/"],
            ),
        ],
    );
}

/// [ARCP 9.2-4] Dot segments are removed, unreserved characters decoded, and an encoded slash stays what it is.
#[test]
fn paths_of_urls_are_normalised() {
    table(
        Kind::Url,
        &[
            (
                "https://a.b/pub/**",
                &[
                    "+https://a.b/pub",
                    "+https://a.b/pub/",
                    "+https://a.b/pub/x",
                    "+https://a.b/%70ub/x",
                    "+https://a.b/x/../pub/y",
                    "+https://a.b/pub/x%2Fy",
                    "+https://a.b/pub/%20",
                    "-https://a.b/pub/../secret",
                    "-https://a.b/pub/%2e%2e/secret",
                    "-https://a.b/pub/.%2E/secret",
                    "-https://a.b/pub/..%2Fsecret",
                    "-https://a.b/pub/..%2fsecret",
                    "-https://a.b/pub/..%5Csecret",
                    "-https://a.b/pub%2F..%2Fsecret",
                    "-https://a.b/pub/x%2F..",
                    "-https://a.b/pub/..\\secret",
                    "-https://a.b/public",
                    "-https://a.b/PUB/x",
                    "-https://a.b/pub%2Fx",
                    "-https://a.b/secret?/pub/x",
                    "-https://a.b/secret#/pub/x",
                    "-https://a.b/pub/%zz",
                    "-https://a.b/pub/%",
                    "-https://a.b/pub/%ff",
                ],
            ),
            (
                "https://a.b/*",
                &[
                    "+https://a.b/",
                    "+https://a.b/x",
                    "-https://a.b/x/y",
                    "-https://a.b/x%2Fy",
                    "-https://a.b/x%5Cy",
                    "+https://a.b/x?y/z",
                ],
            ),
            (
                "https://a.b/x%2fy",
                &["+https://a.b/x%2Fy", "-https://a.b/x/y"],
            ),
            (
                "https://a.b/x%3Ay",
                &["+https://a.b/x%3ay", "-https://a.b/x:y"],
            ),
            (
                "https://a.b/%7Ejoe",
                &["+https://a.b/~joe", "+https://a.b/%7ejoe"],
            ),
            (
                "https://a.b/é",
                &[
                    "+https://a.b/é",
                    "+https://a.b/%C3%A9",
                    "+https://a.b/%c3%a9",
                ],
            ),
            ("https://a.b/%C3%A9", &["+https://a.b/é"]),
            (
                "https://a.b/?",
                &[
                    "+https://a.b/é",
                    "+https://a.b/%20",
                    "+https://a.b/%3A",
                    "-https://a.b/",
                    "-https://a.b/ab",
                    "-https://a.b/%2F",
                ],
            ),
            (
                "https://a.b/x y",
                &["+https://a.b/x%20y", "+https://a.b/x y"],
            ),
            (
                "https://a.b/[!x]",
                &[
                    "+https://a.b/y",
                    "+https://a.b/%3A",
                    "-https://a.b/x",
                    "-https://a.b/%2F",
                ],
            ),
            (
                "https://a.b/a/**/z",
                &[
                    "+https://a.b/a/z",
                    "+https://a.b/a/b/c/z",
                    "-https://a.b/az",
                ],
            ),
            (
                "https://a.b",
                &["+https://a.b/", "+https://a.b?q", "-https://a.b/x"],
            ),
            (
                "https://a.b/v1/items",
                &["+https://a.b/v1/items?page=2#top", "-https://a.b/v1/items/"],
            ),
            (
                "https://a.b/**.json",
                &[
                    "+https://a.b/x/y.json",
                    "-https://a.b/x/y.json/",
                    "-https://a.b/x?y.json",
                ],
            ),
        ],
    );
}

/// [ARCP 9.2-5] URL patterns that no URL could match are malformed.
#[test]
fn useless_url_patterns_are_malformed() {
    refused(
        Kind::Url,
        &[
            "example.com/**",
            "**",
            "*",
            "/a",
            "//example.com/",
            "https:/example.com",
            "ftp://example.com/",
            "file:///etc/**",
            "https://",
            "https:///a",
            "https://:80/",
            "https://user@example.com/",
            "https://*@example.com/",
            r"https://a\@b/",
            "https://a..b/",
            "https://.a/",
            "https://a./",
            "https://*./",
            "https://a.b:/",
            "https://a.b:x/",
            "https://a.b:65536/",
            "https://a.b:1:2/",
            "https://a b/",
            "https://a.b/x#y",
            r"https://a.b/x\?y",
            r"https://a.b/x\\y",
            "https://a.b/%",
            "https://a.b/%4",
            "https://a.b/%zz",
            "https://a.b/%FF",
            "https://a.b/x/../y",
            "https://a.b/./x",
            "https://a.b/%2e%2e/x",
            "https://a.b/..%2Fx",
            "https://[::1/",
            "https://[::1].b/",
            "https://x[::1]/",
            "https://a.b/[::1]",
            "https://*é.b/",
            "https://[A-Z].b/",
            "https://a[.]b/",
            "https://a.b[:]80/",
            "https://256.1.1.1/",
            "https://a%/",
            "https://*%.b/",
        ],
    );
}

/// [ARCP 9.2-4] What is wrong with a URL is said.
#[test]
fn bad_urls_are_denied_with_a_reason() {
    let everything = Pattern::parse("*://**/**", Kind::Url).unwrap();
    let cases = [
        ("example.com", ValueError::NotUrl),
        ("ftp://example.com/", ValueError::UnknownScheme),
        ("https://u@example.com/", ValueError::UserInfo),
        ("https://example.com\\x", ValueError::Backslash),
        ("https://example.com./", ValueError::EmptyLabel),
        ("https://example.com/%g", ValueError::BadPercent),
        ("https://example.com/..%2F", ValueError::HiddenDots),
        ("https://example.com/\n", ValueError::ControlCharacter),
        ("https://exa mple.com/", ValueError::NotUrl),
        ("https://999.1.1.1/", ValueError::NotUrl),
    ];
    for (value, error) in cases {
        assert_eq!(everything.matches(value), Err(error), "{value:?}");
    }
}

/// [ARCP 9.2-4] a pattern names its host when the host stands in it without wildcards and without another beside it.
#[test]
fn literal_hosts_are_told_from_patterns() {
    let table = [
        ("http://localhost/**", true),
        ("http://127.0.0.1:*/**", true),
        ("https://intranet.corp:8443/a?", true),
        ("http://[::1]:80/**", true),
        ("{http,https}://localhost/**", true),
        ("http://localhost", true),
        ("http://localhost/{a,b}", true),
        ("http://LOCALHOST/", true),
        ("http://*/**", false),
        ("http://**:*/**", false),
        ("http://10.0.0.?/**", false),
        ("http://{localhost,example.com}/**", false),
        ("http://[a-z].example.com/**", false),
        ("{http://a,http://*}/**", false),
        ("http://a{/x,.example.com/y}", false),
    ];
    for (text, literal) in table {
        let pattern = Pattern::parse(text, Kind::Url).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(pattern.has_literal_host(), literal, "{text}");
    }
    let path = Pattern::parse("/a/**", Kind::Path).unwrap_or_else(|error| panic!("{error}"));
    assert!(!path.has_literal_host());
}
