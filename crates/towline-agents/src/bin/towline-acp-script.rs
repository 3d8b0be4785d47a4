//! The scripted agent of [`towline_agents::acp_script`] as a program; with a file as its argument, it does what that says.

fn main() -> std::process::ExitCode {
    towline_agents::acp_script::main(std::env::args_os().nth(1).map(Into::into))
}
