//! The programs that are measured: the released simulator, and moto from PyPI.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

/// The rival, at one version.
const MOTO: &str = "moto[ec2,server]==5.2.5";

/// A server on loopback, ended when dropped.
pub(super) struct Program {
    process: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its data folder.
    pub(super) folder: TempDir,
}

impl Program {
    /// The released simulator, with an account to begin with.
    pub(super) fn ec2_sim(arguments: &[&str], account: Option<&[u8]>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ec2-sim-bench-").tempdir()?;
        if let Some(account) = account {
            std::fs::write(folder.path().join("state.json"), account)?;
        }
        let mut command = Command::new(target().join("release/ec2-sim"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--data"]).arg(folder.path()).args(arguments);
        let mut process = command.stdout(Stdio::piped()).spawn().context("ec2-sim does not start")?;
        let stdout = process.stdout.take().context("it was asked for")?;
        Self::when_ready(process, BufReader::new(stdout), folder)
    }

    /// moto as a server, installed below the target folder the first time.
    pub(super) fn moto() -> Result<Self> {
        let folder = target().join("bench/moto");
        if !folder.join("ready").exists() {
            done(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
            done(Command::new(folder.join("bin/python")).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", MOTO]))?;
            std::fs::write(folder.join("ready"), MOTO)?;
        }
        let mut command = Command::new(folder.join("bin/moto_server"));
        command.args(["--host", "127.0.0.1", "--port", "0"]).stdout(Stdio::null());
        let mut process = command.stderr(Stdio::piped()).spawn().context("moto does not start")?;
        let stderr = process.stderr.take().context("it was asked for")?;
        Self::when_ready(process, BufReader::new(stderr), tempfile::tempdir()?)
    }

    /// Reads what a program says until it says where it listens; the rest is read and dropped.
    fn when_ready(process: Child, mut said: BufReader<impl std::io::Read + Send + 'static>, folder: TempDir) -> Result<Self> {
        let mut program = Self { process, address: SocketAddr::from(([127, 0, 0, 1], 0)), folder };
        loop {
            let mut line = String::new();
            ensure!(said.read_line(&mut line)? > 0, "a server ended before it listened");
            if let Some((_, rest)) = line.split_once("http://") {
                program.address = rest.trim().parse().with_context(|| format!("no address in {line:?}"))?;
                break;
            }
        }
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Ok(program)
    }

    /// Its resident memory.
    pub(super) fn resident_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }

    /// Ends it as an operator would, and waits for that.
    pub(super) fn stop(mut self) -> Result<TempDir> {
        done(Command::new("kill").arg(self.process.id().to_string()))?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("it ended with {status}");
        }
        let other = tempfile::tempdir()?;
        Ok(std::mem::replace(&mut self.folder, other))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The target folder that this program was built in.
pub(super) fn target() -> PathBuf {
    let own = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    own.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"))
}

fn done(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
