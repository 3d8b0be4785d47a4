//! The scripted agent of [`towline_agents::acp_script`] as a program.

fn main() -> std::process::ExitCode {
    towline_agents::acp_script::main()
}
