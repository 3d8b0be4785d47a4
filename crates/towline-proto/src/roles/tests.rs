use super::*;

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn lease(of: &[(&str, &str)]) -> Lease {
    of.iter().copied().collect()
}

#[track_caller]
fn refused(role: &Role, asked: &Lease, parts: &[&str]) {
    let refusal = role.bound(asked).expect_err("it is over the ceiling");
    assert_eq!(refusal.code, ErrorCode::LEASE_SUBSET_VIOLATION, "{refusal}");
    for part in parts {
        assert!(refusal.message.contains(part), "{refusal} lacks {part}");
    }
}

/// [ARCP 14-10] Off the machine means: no files, no network, no program, by whatever pattern, asked for or to be asked
/// about; and everything else.
#[test]
fn a_token_without_a_role_stays_off_the_machine() {
    let role = Role::of_nobody().off_the_machine().unwrap();
    for (namespace, pattern) in [
        ("fs.read", "/tmp/**"),
        ("fs.write", "/tmp/x"),
        ("net.fetch", "https://example.com/**"),
        ("tool.call", "exec:ls"),
        ("tool.call", "exec:**"),
        ("tool.call", "*"),
        ("tool.call", "**"),
        ("tool.call", "ex*"),
        ("tool.call", "e?ec:ls"),
        ("tool.call", "[a-f]xec:*"),
        ("tool.call", "{search,exec:}*"),
        ("tool.call", "????:*"),
        ("x-vendor.towline.ask", "fs.write=/tmp/**"),
        ("x-vendor.towline.ask", "net.fetch=https://example.com/**"),
        ("x-vendor.towline.ask", "tool.call=exec:*"),
    ] {
        let asked = Lease::new().with(namespace, pattern);
        refused(
            &role,
            &asked,
            &[
                "a token without a role",
                "all but fs.*, net.fetch and exec:",
            ],
        );
    }
    let asked = lease(&[
        ("tool.call", "search.*"),
        ("tool.call", "e"),
        ("tool.call", "exec"),
        ("tool.call", "execute:x"),
        ("tool.call", "executive/x"),
        ("tool.call", "exec.x"),
        ("tool.call", "exec/x"),
        ("tool.call", "mcp:git/*"),
        ("tool.call", "[!e]*"),
        ("agent.delegate", "*"),
        ("model.use", "**"),
        ("cost.budget", "USD:5.00"),
        ("x-vendor.acme.db", "fs.read"),
        ("x-vendor.towline.ask", "tool.call=deploy"),
    ]);
    assert_eq!(role.bound(&asked), Ok(asked));
}

/// [ARCP 20-1] A ceiling holds what its patterns cover, namespace by namespace, and its refusal names it.
#[test]
fn a_ceiling_is_compared_on_what_patterns_mean() {
    let ceiling = lease(&[("fs.read", "/srv/**"), ("tool.call", "search.*")]);
    let role = Role::named("dev").lease_ceiling(ceiling).unwrap();
    let within = lease(&[("fs.read", "/srv/a/*"), ("tool.call", "search.web")]);
    assert_eq!(role.bound(&within), Ok(within));
    let named = "role `dev` (fs.read: /srv/**; tool.call: search.*)";
    refused(&role, &lease(&[("fs.read", "/**")]), &[named, "`/**`"]);
    refused(
        &role,
        &lease(&[("fs.write", "/srv/a")]),
        &[named, "fs.write"],
    );
    refused(&role, &lease(&[("tool.call", "*")]), &[named]);
    assert!(role.bound(&lease(&[("fs.read", "relative")])).is_err());
    let nothing = Role::named("none").lease_ceiling(Lease::new()).unwrap();
    assert_eq!(nothing.bound(&Lease::new()), Ok(Lease::new()));
    refused(&nothing, &lease(&[("model.use", "m")]), &["(nothing)"]);
    let budget = Role::named("x").lease_ceiling(lease(&[("cost.budget", "USD:1")]));
    assert_eq!(budget.unwrap_err(), RoleError::BudgetInCeiling);
}

/// [ARCP 20-1] The budget of a job is bounded, and is the default of each currency it names.
#[test]
fn a_budget_bounds_and_is_the_default() {
    let role = Role::named("dev")
        .budget_per_job(&texts(&["USD:5.00", "EUR:1"]))
        .unwrap();
    let granted = |asked: &Lease| {
        role.bound(asked)
            .map(|lease| lease.patterns("cost.budget").to_vec())
    };
    assert_eq!(granted(&Lease::new()), Ok(texts(&["EUR:1", "USD:5.00"])));
    let asked = lease(&[("cost.budget", "USD:4.99"), ("cost.budget", "GBP:100")]);
    assert_eq!(
        granted(&asked),
        Ok(texts(&["USD:4.99", "GBP:100", "EUR:1"]))
    );
    let twice = lease(&[("cost.budget", "USD:3"), ("cost.budget", "USD:2.01")]);
    refused(&role, &twice, &["USD:5.01", "role `dev`", "USD:5.00"]);
}

/// [ARCP 20-1] An agent outside of the role's is denied by name; versions count where a pattern names one.
#[test]
fn agents_are_patterns() {
    let role = Role::named("dev")
        .agents(&texts(&["review", "index@1.*"]))
        .unwrap();
    let may = |agent: &str| role.may_run(&AgentRef::parse(agent).unwrap());
    assert!(may("review@2.0.0").is_ok() && may("index@1.4.0").is_ok());
    for agent in ["exec", "index@2.0.0", "reviewer"] {
        let refusal = may(agent).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::PERMISSION_DENIED);
        assert!(
            refusal.message.contains("role `dev`") && refusal.message.contains(agent),
            "{refusal}"
        );
    }
    assert!(
        Role::of_nobody()
            .may_run(&AgentRef::parse("x").unwrap())
            .is_ok()
    );
}

#[test]
fn a_reach_is_one_word() {
    for (text, reach) in [
        ("own", Reach::Own),
        ("all", Reach::All),
        ("role:dev", Reach::Role("dev".to_owned())),
    ] {
        assert_eq!(text.parse(), Ok(reach.clone()));
        assert_eq!(reach.to_string(), text);
    }
    for text in ["", "role:", "everybody"] {
        assert!(
            text.parse::<Reach>()
                .unwrap_err()
                .contains(&format!("`{text}`"))
        );
    }
}
