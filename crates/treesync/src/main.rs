//! The program `treesync`.

use std::process::ExitCode;

fn main() -> ExitCode {
    treesync::cli::run()
}
