//! `towline doctor`: what this system can hold agents' programs with, and what it would refuse.

use serde::Serialize;

use crate::{args::OutputFormat, exit, failure::Outcome, output};

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Findings {
    /// Whether programs can be confined at all.
    confines: bool,
    /// The version of Landlock's interface.
    landlock: Option<u8>,
    /// Whether system calls are filtered.
    seccomp: bool,
    /// The namespaces a program gets.
    namespaces: Vec<String>,
    /// Why it gets none.
    no_namespaces_because: Option<String>,
    /// What keeps a program with a network to the proxy of its job: `namespace` or `port`.
    network: Option<String>,
    /// Whether a program has a `/proc` of its own.
    proc: bool,
    /// What ends whatever a program started: `namespace` or `sweep`.
    end: Option<String>,
    /// Whether the limit of processes holds.
    processes_bounded: bool,
    /// Whether a cgroup of this program's own could be divided; it is not used to hold programs.
    cgroup_delegated: bool,
    /// Whether this program's memory is closed to other processes, and no core file is written.
    memory_closed: bool,
    /// Whether this is root.
    root: bool,
    /// What works, and had better be otherwise.
    warnings: Vec<&'static str>,
    /// Which jobs are refused, and what to do.
    refused: Vec<Refused>,
}

/// Jobs that need a network.
#[cfg(target_os = "linux")]
const NETWORK: &str = "those whose lease holds net.fetch, or whose agent has a model, and that run a confined program";

/// What helps them.
#[cfg(target_os = "linux")]
const NO_NETWORK: &str =
    "take a kernel that lets a network namespace be made, or leave net.fetch out of their lease";

/// What is said where this is root.
const ROOT: &str = "programs of jobs are root's too: every file that a lease names is theirs; run servers as a user of their own";

/// A kind of job that is refused.
#[derive(Debug, Serialize)]
struct Refused {
    jobs: String,
    because: String,
    remedy: String,
}

/// Whether programs can be confined at all.
pub(super) async fn confines() -> bool {
    look().await.confines
}

pub(super) async fn run(format: OutputFormat) -> Outcome {
    let mut findings = look().await;
    if findings.root {
        findings.warnings.push(ROOT);
    }
    output::one(format, &findings, text)?;
    Ok(if findings.confines {
        exit::SUCCESS
    } else {
        exit::JOB_FAILED
    })
}

#[cfg(target_os = "linux")]
async fn look() -> Findings {
    use towline::agents::{Launcher, confine};

    let mut findings = Findings {
        root: confine::is_root(),
        memory_closed: confine::memory_is_closed(),
        cgroup_delegated: confine::cgroup_is_delegated(),
        ..Findings::default()
    };
    let launcher = match Launcher::find() {
        Ok(launcher) => launcher,
        Err(none) => {
            findings.refuse("all that run a program", &none.to_string(), "see there");
            return findings;
        }
    };
    let kernel = launcher.probe().await;
    findings.no_namespaces_because = kernel.namespaces.as_ref().err().map(ToString::to_string);
    if let Some(refusal) = kernel.refuses() {
        let remedy = "take a kernel with Landlock and seccomp (Linux 6.12, or 5.13 where user namespaces may be made), or say \
                      confine = \"off\" for agents you trust with everything";
        findings.refuse(
            "all that run a confined program",
            &refusal.to_string(),
            remedy,
        );
        return findings;
    }
    findings.confines = true;
    findings.seccomp = true;
    if let Some(report) = kernel.report() {
        findings.take(report);
    }
    match kernel.network(true) {
        Ok(confine::Network::Namespace) => findings.network = Some("namespace".to_owned()),
        Ok(_) => findings.network = Some("port".to_owned()),
        Err(refusal) => findings.refuse(NETWORK, &refusal.to_string(), NO_NETWORK),
    }
    if findings.network.is_some()
        && let Err(refusal) = kernel.network(false)
    {
        let remedy = "let unprivileged user namespaces be made (sysctl user.max_user_namespaces), or say \
                      allow_network_by_port = true in [server]: their programs then reach that port of any machine";
        findings.refuse(NETWORK, &refusal.to_string(), remedy);
    }
    if findings.namespaces.is_empty() {
        findings.refuse(
            "those whose fs.read or fs.write covers towline's own files, /dev or /proc",
            "without namespaces of their own these cannot be hidden",
            "let unprivileged user namespaces be made (sysctl user.max_user_namespaces; on Ubuntu \
             kernel.apparmor_restrict_unprivileged_userns=0), or grant directories beside them",
        );
    }
    findings
}

#[cfg(not(target_os = "linux"))]
async fn look() -> Findings {
    let mut findings = Findings::default();
    findings.refuse(
        "all that run a confined program",
        "this system is not Linux",
        "run towline on Linux, or say confine = \"off\" for agents you trust with everything",
    );
    findings
}

impl Findings {
    /// What held a program that was tried.
    #[cfg(target_os = "linux")]
    fn take(&mut self, report: &towline::agents::confine::Report) {
        use towline::agents::confine::End;

        self.landlock = Some(report.landlock);
        self.namespaces.clone_from(&report.namespaces);
        self.proc = report.proc;
        self.end = Some(match report.end {
            End::Namespace => "namespace".to_owned(),
            _ => "sweep".to_owned(),
        });
        self.processes_bounded = report.processes_bounded;
    }

    fn refuse(&mut self, jobs: &str, because: &str, remedy: &str) {
        self.refused.push(Refused {
            jobs: jobs.to_owned(),
            because: because.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}

fn text(findings: &Findings) -> String {
    let word = |yes| if yes { "yes" } else { "no" }.to_owned();
    let namespaces = match &findings.no_namespaces_because {
        _ if !findings.namespaces.is_empty() => findings.namespaces.join(" "),
        Some(why) => format!("none: {why}"),
        None => "none".to_owned(),
    };
    let landlock = findings.landlock;
    let rows = [
        ("programs can be confined", word(findings.confines)),
        (
            "landlock",
            landlock.map_or_else(|| "none".to_owned(), |version| version.to_string()),
        ),
        ("seccomp", word(findings.seccomp)),
        ("namespaces", namespaces),
        (
            "network of a job kept by",
            findings
                .network
                .clone()
                .unwrap_or_else(|| "nothing".to_owned()),
        ),
        ("a /proc of its own", word(findings.proc)),
        (
            "what it started ends by",
            findings.end.clone().unwrap_or_else(|| "nothing".to_owned()),
        ),
        ("limit of processes holds", word(findings.processes_bounded)),
        (
            "cgroup delegated (not used)",
            word(findings.cgroup_delegated),
        ),
        ("this memory is closed", word(findings.memory_closed)),
        ("this is root", word(findings.root)),
    ];
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| format!("{name:<28} {value}"))
        .collect();
    let warnings = findings.warnings.iter();
    lines.extend(warnings.map(|warning| format!("\nwarning: {warning}")));
    for refused in &findings.refused {
        lines.push(format!(
            "\nrefused: {}\n  because {}\n  {}",
            refused.jobs, refused.because, refused.remedy
        ));
    }
    lines.join("\n")
}
