//! A volume that was detached while its source was edited, made fresh again as an agent does it, beside rsync that scans.

use anyhow::Result;

use crate::row::Row;
use crate::treesync;

const COMMAND: &str = "make bench ONLY=live";

/// The engine alone, optimised: what an agent does between the mount of a volume and the moment at which a claim may have it.
pub(crate) fn run() -> Result<Vec<Row>> {
    treesync::run_parts("away", COMMAND)
}
