//! The order of the checks, and what a child gets.

use towline_wire::{Amount, ErrorCode, Lease, LeaseConstraints, Timestamp};

use super::super::{Authority, Budget, Operation, Refusal, UnnamedModels, validate_request};

const START: &str = "2026-01-31T12:00:00Z";
const EXPIRY: &str = "2026-01-31T13:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn until(text: &str) -> LeaseConstraints {
    LeaseConstraints {
        expires_at: Some(text.to_owned()),
    }
}

fn lease() -> Lease {
    Lease::new()
        .with("fs.read", "/data/**")
        .with("tool.call", "search.*")
        .with("agent.delegate", "review")
        .with("model.use", "small-*")
        .with("x-vendor.acme.db", "read.*")
        .with("cost.budget", "USD:5.00")
}

fn authority(lease: &Lease) -> Authority {
    Authority::new(
        validate_request(lease, &until(EXPIRY), at(START)).unwrap(),
        true,
    )
}

fn spend(authority: &mut Authority, value: &str) {
    let value: Amount = value.parse().unwrap();
    authority
        .budget_mut()
        .apply_metric("cost.x", &value, Some("USD"))
        .unwrap();
}

#[track_caller]
fn denied(authority: &Authority, operation: Operation<'_>, now: &str) -> (String, String) {
    let denial = authority.decide(operation, at(now)).unwrap_err();
    (
        denial.code().as_str().to_owned(),
        denial.message().to_owned(),
    )
}

fn every_operation() -> [Operation<'static>; 7] {
    [
        Operation::FsRead("/data/a"),
        Operation::FsWrite("/data/a"),
        Operation::NetFetch("https://a.b/"),
        Operation::ToolCall("search.web"),
        Operation::Delegate("review@1.0.0"),
        Operation::ModelUse("small-1"),
        Operation::of("x-vendor.acme.db", "read.users"),
    ]
}

/// [ARCP 9.3-1] Denied unless granted, with PERMISSION_DENIED and a text that names the operation.
#[test]
fn what_is_not_granted_is_denied() {
    let authority = authority(&lease());
    let granted: Vec<_> = every_operation()
        .iter()
        .map(|operation| authority.decide(*operation, at(START)).is_ok())
        .collect();
    assert_eq!(granted, [true, false, false, true, true, true, true]);
    let grant = authority
        .decide(Operation::FsRead("/data/./x"), at(START))
        .unwrap();
    assert_eq!(
        (grant.pattern, &*grant.value),
        (Some("/data/**"), "/data/x")
    );
    let cases = [
        (
            Operation::FsRead("/etc/passwd"),
            "fs.read `/etc/passwd` denied: no pattern of the lease covers `/etc/passwd`",
        ),
        (
            Operation::FsRead("data/x"),
            "fs.read `data/x` denied: the path is not absolute",
        ),
        (
            Operation::FsWrite("/data/x"),
            "fs.write `/data/x` denied: the lease grants nothing of this kind",
        ),
        (
            Operation::of("cost.budget", "USD:1"),
            "cost.budget `USD:1` denied: the lease grants nothing of this kind",
        ),
    ];
    for (operation, message) in cases {
        assert_eq!(
            denied(&authority, operation, START),
            ("PERMISSION_DENIED".into(), message.into())
        );
    }
}

/// [ARCP 9.3-1] Expiry is looked at first, then the budget, then the patterns.
#[test]
fn the_checks_have_an_order() {
    let mut authority = authority(&lease());
    let outside = Operation::FsRead("/etc/passwd");
    assert_eq!(denied(&authority, outside, START).0, "PERMISSION_DENIED");
    spend(&mut authority, "5");
    assert_eq!(denied(&authority, outside, START).0, "BUDGET_EXHAUSTED");
    assert_eq!(denied(&authority, outside, EXPIRY).0, "LEASE_EXPIRED");
}

/// [ARCP 9.5-2] From `expires_at` on every operation fails LEASE_EXPIRED; a microsecond before, none does.
#[test]
fn at_the_expiry_everything_ends() {
    let authority = authority(&lease());
    let before = Timestamp::from_unix_micros(at(EXPIRY).unix_micros() - 1);
    assert!(
        authority
            .decide(Operation::ToolCall("search.web"), before)
            .is_ok()
    );
    for operation in every_operation() {
        let (code, message) = denied(&authority, operation, EXPIRY);
        assert_eq!(code, "LEASE_EXPIRED");
        assert!(message.contains("2026-01-31T13:00:00.000Z"), "{message}");
    }
}

/// [ARCP 9.6-3] A budget that is used up blocks every operation, models included.
#[test]
fn an_exhausted_budget_blocks_everything() {
    let mut authority = authority(&lease());
    spend(&mut authority, "4.99");
    assert!(
        authority
            .decide(Operation::ModelUse("small-1"), at(START))
            .is_ok()
    );
    spend(&mut authority, "0.02");
    for operation in every_operation() {
        let (code, message) = denied(&authority, operation, START);
        assert_eq!(code, "BUDGET_EXHAUSTED");
        assert!(message.contains("-0.01 USD"), "{message}");
    }
}

/// [ARCP 9.7-1] A model has to be matched; without `model.use` the deployment's rule decides.
#[test]
fn models_follow_the_deployments_rule() {
    let open = |lease: &Lease, require| {
        let request = validate_request(lease, &LeaseConstraints::default(), at(START)).unwrap();
        let authority = Authority::new(request, require);
        ["small-1", "large-1"].map(|model| {
            authority
                .decide(Operation::ModelUse(model), at(START))
                .is_ok()
        })
    };
    let mut silent = lease();
    silent.set("model.use", Vec::new());
    assert_eq!(open(&lease(), true), [true, false]);
    assert_eq!(open(&lease(), false), [true, false]);
    assert_eq!(open(&silent, true), [false, false]);
    assert_eq!(open(&silent, false), [true, true]);
}

/// A denied URL is shown without what may be secret in it.
#[test]
fn denials_leave_secrets_out() {
    let authority = authority(&lease().with("net.fetch", "https://b.c/**"));
    for url in [
        "https://joe:hunter2@a.b/x?token=hunter2#hunter2",
        "https://a.b/?hunter2#hunter2",
        "https://hunter2@a.b\\x",
    ] {
        let (_, message) = denied(&authority, Operation::NetFetch(url), START);
        assert!(
            !message.contains("hunter2") && message.contains("a.b"),
            "{message}"
        );
    }
}

fn child(parent: &Authority, lease: &Lease) -> Result<super::super::ChildGrant, Refusal> {
    parent.derive_child(
        "review@1.0.0",
        lease,
        &LeaseConstraints::default(),
        at(START),
    )
}

/// [ARCP 9.4-1, 9.4-5] A child gets at most what its parent has, for an agent that the parent may delegate to.
#[test]
fn a_child_is_within_its_parent() {
    let parent = authority(&lease());
    let granted = child(&parent, &Lease::new().with("fs.read", "/data/in/*")).unwrap();
    let authority = granted.into_authority();
    assert!(
        authority
            .decide(Operation::FsRead("/data/in/a"), at(START))
            .is_ok()
    );
    assert!(
        authority
            .decide(Operation::FsRead("/data/a"), at(START))
            .is_err()
    );
    let refusal = child(&parent, &Lease::new().with("fs.read", "/data*")).unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::LEASE_SUBSET_VIOLATION);
    assert!(refusal.to_string().contains("`/data*`"), "{refusal}");
    let malformed = child(&parent, &Lease::new().with("fs.read", "data")).unwrap_err();
    assert_eq!(malformed.code(), ErrorCode::INVALID_REQUEST);
    let other = parent
        .derive_child(
            "other",
            &Lease::new(),
            &LeaseConstraints::default(),
            at(START),
        )
        .unwrap_err();
    assert_eq!(other.code(), ErrorCode::PERMISSION_DENIED);
}

/// [ARCP 9.4-2] The child's amounts come out of what is left; a currency it does not name it inherits.
#[test]
fn a_child_shares_the_budget() {
    let mut parent = authority(&lease());
    spend(&mut parent, "1.80");
    let named = child(
        &parent,
        &Lease::new()
            .with("cost.budget", "USD:3.20")
            .with("cost.budget", "EUR:9"),
    )
    .unwrap();
    assert_eq!(named.reserve.to_texts(), ["USD:3.20"]);
    assert_eq!(named.lease.patterns("cost.budget"), ["EUR:9", "USD:3.20"]);
    let silent = child(&parent, &Lease::new().with("cost.budget", "EUR:9")).unwrap();
    assert_eq!(silent.reserve.to_texts(), ["USD:3.20"]);
    assert_eq!(silent.lease.patterns("cost.budget"), ["EUR:9", "USD:3.20"]);
    let greedy = child(&parent, &Lease::new().with("cost.budget", "USD:3.21")).unwrap_err();
    assert_eq!(greedy.code(), ErrorCode::LEASE_SUBSET_VIOLATION);
    parent.budget_mut().reserve(&silent.reserve).unwrap();
    let late = child(&parent, &Lease::new()).unwrap_err();
    assert_eq!(late.code(), ErrorCode::BUDGET_EXHAUSTED);
    let ended = silent.into_authority();
    parent.budget_mut().settle(ended.budget());
    assert!(child(&parent, &Lease::new()).is_ok());
}

/// [ARCP 9.4-3] The child's time ends with the parent's, at the latest.
#[test]
fn a_child_expires_with_its_parent() {
    let parent = authority(&lease());
    let expiry = |constraints: &LeaseConstraints| {
        parent
            .derive_child("review", &Lease::new(), constraints, at(START))
            .map(|child| child.expires_at)
    };
    let cases = [
        (LeaseConstraints::default(), EXPIRY),
        (until("2026-01-31T12:30:00Z"), "2026-01-31T12:30:00Z"),
        (until("2027-01-31T12:30:00Z"), EXPIRY),
    ];
    for (constraints, expected) in cases {
        assert_eq!(expiry(&constraints).unwrap(), Some(at(expected)));
    }
    assert_eq!(
        expiry(&until("2026-01-31T11:00:00Z")).unwrap_err().code(),
        ErrorCode::INVALID_REQUEST
    );
    let late = parent
        .derive_child(
            "review",
            &Lease::new(),
            &LeaseConstraints::default(),
            at(EXPIRY),
        )
        .unwrap_err();
    assert_eq!(late.code(), ErrorCode::LEASE_EXPIRED);
}

/// [ARCP 9.4-4] `model.use` is a subset too, and a child that names none has none, even below a parent that may use any.
#[test]
fn a_child_without_models_has_none() {
    let may = |authority: Authority, model| {
        authority
            .decide(Operation::ModelUse(model), at(START))
            .is_ok()
    };
    let parent = authority(&lease());
    assert!(!may(
        child(&parent, &Lease::new()).unwrap().into_authority(),
        "small-1"
    ));
    assert!(may(
        child(&parent, &Lease::new().with("model.use", "small-1"))
            .unwrap()
            .into_authority(),
        "small-1"
    ));
    assert!(child(&parent, &Lease::new().with("model.use", "*")).is_err());

    let mut silent = lease();
    silent.set("model.use", Vec::new());
    let request = validate_request(&silent, &LeaseConstraints::default(), at(START)).unwrap();
    let unbounded = Authority::new(request, false);
    assert!(!may(
        child(&unbounded, &Lease::new()).unwrap().into_authority(),
        "small-1"
    ));
    assert!(may(
        child(&unbounded, &Lease::new().with("model.use", "large-*"))
            .unwrap()
            .into_authority(),
        "large-1"
    ));
}

/// [ARCP 9.5-2, 9.6-3] what is restored has the expiry, even a past one, and the counters that were stored; what cannot be read
/// grants nothing, and is never without an expiry by mistake.
#[test]
fn a_stored_lease_is_what_it_was() {
    let mut before = authority(&lease());
    spend(&mut before, "4.75");
    let models = UnnamedModels::of(true, false);
    let stored = |expires_at: &str, budget: Option<Budget>| {
        Authority::restored(&lease(), &until(expires_at), budget, models)
    };
    let restored = stored(EXPIRY, Some(before.budget().clone())).unwrap();
    let left: Vec<_> = restored.budget().remaining().collect();
    assert_eq!(left, before.budget().remaining().collect::<Vec<_>>());
    let read = Operation::FsRead("/data/a");
    assert!(restored.decide(read, at(START)).is_ok());
    let late = restored.decide(read, at(EXPIRY)).unwrap_err();
    assert_eq!(*late.code(), ErrorCode::LEASE_EXPIRED);
    for unreadable in ["", "soon", "2026-01-31T13:00:00+02:00"] {
        assert!(stored(unreadable, None).is_err(), "{unreadable}");
    }
    let malformed = Lease::new().with("fs.read", "relative");
    assert!(Authority::restored(&malformed, &until(EXPIRY), None, models).is_err());
    for operation in [read, Operation::ModelUse("small-1")] {
        let denied = Authority::nothing()
            .decide(operation, at(START))
            .unwrap_err();
        assert_eq!(*denied.code(), ErrorCode::PERMISSION_DENIED);
    }
}

/// [ARCP 9.7-1, 9.4-4] what a lease without `model.use` means: by the deployment's rule, and for a child always none. The
/// authority and whoever asks whether a credential is of use go by the same rule, also after a restart.
#[test]
fn a_lease_without_models() {
    let use_some = Operation::ModelUse("small-1");
    let (silent, empty) = (Lease::new(), {
        let json = r#"{"model.use":[]}"#;
        serde_json::from_str::<Lease>(json).unwrap()
    });
    let named = Lease::new().with("model.use", "small-*");
    // the rule, whether it is a child, the lease, whether a model may be used
    let table = [
        (true, false, &silent, false),
        (false, false, &silent, true),
        (false, true, &silent, false),
        (true, true, &silent, false),
        (false, false, &empty, false),
        (true, true, &named, true),
        (false, true, &named, true),
    ];
    for (require, is_child, lease, allowed) in table {
        let models = UnnamedModels::of(require, is_child);
        assert_eq!(models.let_use_some(lease), allowed, "{lease:?}");
        let restored =
            Authority::restored(lease, &LeaseConstraints::default(), None, models).unwrap();
        assert_eq!(
            restored.decide(use_some, at(START)).is_ok(),
            allowed,
            "{lease:?}"
        );
        if !is_child {
            let request = validate_request(lease, &LeaseConstraints::default(), at(START));
            let fresh = Authority::new(request.unwrap(), require);
            assert_eq!(
                fresh.decide(use_some, at(START)).is_ok(),
                allowed,
                "{lease:?}"
            );
        }
    }
}
