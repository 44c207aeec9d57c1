//! Checks that there is room for what is to be staged, and to change directories afterwards, before anything is written.

use super::super::error::Problem;
use super::super::hidden::NAMES_ON_A_SHELF;
use super::super::plan::{Act, Bytes, Make, Plan};
use crate::model::{Batch, Put};
use crate::tree::{Filesystem, Root};

/// What a name in a directory may need when the directory grows: a block and its share of an index block.
const PER_NAME_BYTES: u64 = 512;
/// The block of a directory in the stage: 4 KiB on ext4 and XFS.
const PER_DIRECTORY_BYTES: u64 = 4096;
/// For the intent, the marker, and blocks of directories.
const RESERVE_BYTES: u64 = 256 * 1024;

/// What a plan needs at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Need {
    bytes: u64,
    inodes: u64,
}

fn need(plan: &Plan, batch: &Batch, can_clone: bool) -> Need {
    let bytes = |make: &Make| match make {
        Make::File { put, bytes: Bytes::Patch(_) } => {
            let patched = patched_bytes(&batch.puts[*put]);
            if can_clone { patched } else { data_bytes(&batch.puts[*put]).saturating_add(patched) }
        }
        Make::File { bytes: Bytes::Local(_), .. } if can_clone => 0,
        Make::File { put, .. } => data_bytes(&batch.puts[*put]),
        _ => 0,
    };
    let is_inode = |make: &&Make| !matches!(make, Make::Link { .. } | Make::LinkStaged { .. });
    let names = plan.acts.iter().filter(|act| matches!(act, Act::Publish { .. } | Act::Move { .. })).count() as u64;
    let staged: u64 = plan.make.iter().map(bytes).fold(0, u64::saturating_add);
    let shelves = plan.make.len() as u64 / NAMES_ON_A_SHELF;
    let inodes = plan.make.iter().filter(is_inode).count() as u64 + shelves;
    Need { bytes: staged.saturating_add(RESERVE_BYTES + names * PER_NAME_BYTES + shelves * PER_DIRECTORY_BYTES), inodes }
}

/// What a file takes on the disk: blocks of zeros become holes. A source that says too little fills the stage up, and
/// what was staged is given back.
fn data_bytes(put: &Put) -> u64 {
    let size_bytes = put.entry.file().map_or(0, |(size_bytes, _)| size_bytes);
    put.data_bytes.map_or(size_bytes, |data_bytes| data_bytes.min(size_bytes))
}

/// What a patch writes, blocks of zeros among it.
fn patched_bytes(put: &Put) -> u64 {
    put.delta.as_ref().map_or(0, |delta| delta.blocks.iter().map(|block| u64::from(block.length_bytes)).sum())
}

/// Compares the need with what `statvfs` says is free.
///
/// # Errors
/// There is not enough; both figures are named.
pub(in super::super) fn check(root: &Root, plan: &Plan, batch: &Batch) -> Result<(), Problem> {
    if plan.make.is_empty() {
        return Ok(());
    }
    let can_clone = matches!(root.filesystem(), Filesystem::Xfs | Filesystem::Btrfs);
    let need = need(plan, batch, can_clone);
    let (free_bytes, free_inodes) = root.free_space().map_err(Problem::own("ask for the free space"))?;
    if need.bytes > free_bytes {
        return Err(Problem::NoSpace { needed: need.bytes, free: free_bytes });
    }
    match free_inodes {
        Some(free) if need.inodes > free => Err(Problem::NoInodes { needed: need.inodes, free }),
        _ => Ok(()),
    }
}
