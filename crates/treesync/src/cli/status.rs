//! `treesync status`: how a publisher is, or where a copy is.

use std::path::Path;

use anyhow::Context;

use super::Outcome;
use super::arguments::Status;
use super::output::{Event, Output};
use crate::apply::{MarkerState, read_marker};
use crate::tree::Root;
use crate::wire::{Address, Client};

pub(super) async fn status(arguments: Status, output: &Output) -> anyhow::Result<Outcome> {
    let path = Path::new(&arguments.of);
    if path.is_dir() {
        return copy_status(path, output);
    }
    let address: Address = arguments.of.parse().with_context(|| format!("{:?} is not a directory, and no address", arguments.of))?;
    let report = Client::connect(&address, arguments.tls.source().as_ref()).await?.status().await?;
    output.say(&Event::Status {
        position: report.position.into(),
        state: report.state,
        details: report.details,
        copies: report.copies.into_iter().map(Into::into).collect(),
    });
    Ok(Outcome::Good)
}

fn copy_status(path: &Path, output: &Output) -> anyhow::Result<Outcome> {
    let marker = read_marker(&Root::open(path)?)?;
    let state = match marker.map(|marker| marker.state) {
        None => "no copy of treesync",
        Some(MarkerState::Clean) => "clean",
        Some(MarkerState::Applying { .. }) => "being changed, or was when a crash came",
        Some(MarkerState::Repairing) => "being repaired",
    };
    let position = marker.map(|marker| marker.position.into());
    output.say(&Event::CopyStatus { copy: path.display().to_string(), position, state: state.to_owned() });
    Ok(Outcome::Good)
}
