//! `towline completions` and `towline man`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{
    args::Cli,
    exit,
    failure::{Failure, Outcome},
    output,
};

pub(super) fn completions(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "towline", &mut script);
    let script = String::from_utf8_lossy(&script);
    output::write(with_names(shell, &script).as_bytes())?;
    Ok(exit::SUCCESS)
}

/// The script, which also asks the program for names of jobs and agents where one is wanted.
fn with_names(shell: Shell, script: &str) -> String {
    let words = JOB_COMMANDS.join(" ");
    match shell {
        Shell::Bash => format!(
            "{script}\n{}",
            BASH.replace("@COMMANDS@", &JOB_COMMANDS.join("|"))
        ),
        Shell::Fish => format!("{script}\n{}", FISH.replace("@COMMANDS@", &words)),
        Shell::Zsh => zsh(script),
        _ => script.to_owned(),
    }
}

/// What is called `job` or `agent` there has a default action, which is replaced.
fn zsh(script: &str) -> String {
    let replaced: Vec<String> = script
        .lines()
        .map(|line| {
            let trimmed = line.trim_start().trim_start_matches(['\'', '*', ':']);
            let names = if trimmed.starts_with("job -- ") || trimmed.starts_with("jobs -- ") {
                Some("_towline_jobs")
            } else if trimmed.starts_with("agent -- ") || line.contains("]:AGENT:") {
                Some("_towline_agents")
            } else {
                None
            };
            match names {
                Some(names) => line.replacen(":_default", &format!(":{names}"), 1),
                None => line.to_owned(),
            }
        })
        .collect();
    let script = replaced.join("\n");
    // Before the function that uses them.
    script.replacen("_towline() {", &format!("{ZSH}\n_towline() {{"), 1)
}

/// The commands whose words are names of jobs.
const JOB_COMMANDS: [&str; 6] = ["cancel", "export", "get", "result", "wait", "watch"];

const BASH: &str = r#"_towline_names() {
    local word command previous
    word="${COMP_WORDS[COMP_CWORD]}"
    previous="${COMP_WORDS[COMP_CWORD-1]}"
    command="${COMP_WORDS[1]}"
    if [[ "$word" != -* ]]; then
        case "$command" in
            @COMMANDS@)
                if [[ "$previous" != -* ]]; then
                    mapfile -t COMPREPLY < <(towline complete jobs "$word" -- "${COMP_WORDS[@]}" 2>/dev/null)
                    return 0
                fi
                ;;
            run)
                if [[ "$previous" == run ]]; then
                    mapfile -t COMPREPLY < <(towline complete agents "$word" -- "${COMP_WORDS[@]}" 2>/dev/null)
                    return 0
                fi
                ;;
            jobs)
                if [[ "$previous" == --agent || "$previous" == -a ]]; then
                    mapfile -t COMPREPLY < <(towline complete agents "$word" -- "${COMP_WORDS[@]}" 2>/dev/null)
                    return 0
                fi
                ;;
        esac
    fi
    _towline "$@"
}
complete -F _towline_names -o nosort -o bashdefault -o default towline
"#;

const FISH: &str = r#"function __towline_names
    towline complete $argv[1] (commandline -ct) -- (commandline -opc) 2>/dev/null
end
complete -c towline -n "__fish_seen_subcommand_from @COMMANDS@" -f -a "(__towline_names jobs)"
complete -c towline -n "__fish_seen_subcommand_from run; and test (count (commandline -opc)) -eq 2" -f -a "(__towline_names agents)"
complete -c towline -n "__fish_seen_subcommand_from jobs" -s a -l agent -r -f -a "(__towline_names agents)"
"#;

const ZSH: &str = r#"_towline_names() {
    local -a names
    names=(${(f)"$(towline complete $1 "$PREFIX" -- ${words[@]} 2>/dev/null)"})
    compadd -a names
}
_towline_jobs() { _towline_names jobs }
_towline_agents() { _towline_names agents }
"#;

/// The manual: the program, then every command.
pub(super) fn man() -> Outcome {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    render(&command, &mut page)
        .map_err(|error| Failure::local(format!("cannot write the manual: {error}")))?;
    output::write(&page)?;
    Ok(exit::SUCCESS)
}

fn render(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    clap_mangen::Man::new(command.clone()).render(page)?;
    for sub in command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        section(sub, "towline", page)?;
    }
    Ok(())
}

/// A command as a section of the one page: its synopsis, what it does, its options, its examples.
fn section(command: &clap::Command, parent: &str, page: &mut Vec<u8>) -> std::io::Result<()> {
    let name = format!("{parent} {}", command.get_name());
    page.extend_from_slice(format!(".SH \"{}\"\n", name.to_uppercase()).as_bytes());
    let man = clap_mangen::Man::new(command.clone());
    man.render_description_section(page)?;
    man.render_synopsis_section(page)?;
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        man.render_options_section(page)?;
    }
    man.render_extra_section(page)?;
    let subs = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    subs.into_iter()
        .try_for_each(|sub| section(sub, &name, page))
}
