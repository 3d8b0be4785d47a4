//! Starts programs inside their leases, for runtimes whose own program does not; see `towline_agents::launcher`.

use std::process::ExitCode;

fn main() -> ExitCode {
    towline_agents::launcher::main()
}
