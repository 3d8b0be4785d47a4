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
    output::write(&script)?;
    Ok(exit::SUCCESS)
}

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
