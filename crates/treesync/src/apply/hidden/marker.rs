//! The position of a copy, stored on the copy.

use super::Home;
use crate::apply::error::{CopyError, Problem};
use crate::model::{Position, SourceId};
use crate::tree::Root;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Only CAP_SYS_ADMIN may read or write `trusted.` (xattr(7)), so a pod cannot forge it.
const XATTR: &str = "trusted.treesync.marker";
/// Counted up when the layout changes; an older version refuses to touch what a newer one wrote ([`Problem::Newer`]).
const VERSION: u8 = 1;
/// More than a marker of any version has.
pub(super) const MOST_BYTES: u64 = 256;
const LENGTH: usize = 1 + 1 + 16 + 3 * 8 + 4 + 4;

/// Whether the files of a copy are those of its position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MarkerState {
    /// They are.
    Clean,
    /// They are being changed; the intent with this checksum says how, and is durable.
    Applying {
        /// crc32c of the intent.
        intent: u32,
    },
    /// They are being made equal to a manifest, and that is not done: they are at no position.
    Repairing,
}

/// Why bytes are not a marker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MarkerError {
    /// Not whole, or of nobody.
    Damaged,
    /// Whole, and of this later version.
    Newer(u8),
}

/// Where a copy is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marker {
    /// Where its files are when the state is clean.
    pub position: Position,
    /// The generation up to which structural changes are replayed: beyond `position` between two parts of a catch-up.
    pub structure: u64,
    /// Whether that is so.
    pub state: MarkerState,
}

impl Marker {
    pub(super) fn encode(&self) -> Vec<u8> {
        let (state, intent) = match self.state {
            MarkerState::Clean => (0, 0),
            MarkerState::Applying { intent } => (1, intent),
            MarkerState::Repairing => (2, 0),
        };
        let mut bytes = vec![VERSION, state];
        bytes.extend_from_slice(&self.position.source.0);
        for number in [self.position.epoch, self.position.generation, self.structure] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&intent.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, MarkerError> {
        let damaged = MarkerError::Damaged;
        let (content, checksum) = bytes.split_last_chunk::<4>().map(|(content, checksum)| (content, *checksum)).ok_or(damaged)?;
        if checksum != crc32c::crc32c(content).to_le_bytes() {
            return Err(damaged);
        }
        if let Some(newer) = content.first().filter(|version| **version > VERSION) {
            return Err(MarkerError::Newer(*newer));
        }
        let content: &[u8; LENGTH - 4] = content.try_into().map_err(|_| damaged)?;
        let number = |at: usize| u64::from_le_bytes(content[at..at + 8].try_into().expect("eight bytes"));
        let intent = u32::from_le_bytes(content[42..46].try_into().expect("four bytes"));
        let state = match content[1] {
            0 => MarkerState::Clean,
            1 => MarkerState::Applying { intent },
            2 => MarkerState::Repairing,
            _ => return Err(damaged),
        };
        let source = SourceId(content[2..18].try_into().expect("sixteen bytes"));
        let position = Position { source, epoch: number(18), generation: number(26) };
        Ok(Self { position, structure: number(34), state })
    }
}

/// What is stored, or that there is none, or why it cannot be used.
pub(in crate::apply) fn read(root: &Root, home: &Home) -> Result<Result<Option<Marker>, &'static str>, Problem> {
    read_or(root, || home.read("marker", MOST_BYTES))
}

/// As [`read`], of a copy whose hidden directory was missing. Of a newer version there is none then: whoever removed that
/// directory wants the copy compared afresh.
pub(in crate::apply) fn read_of_bare(root: &Root, home: &Home) -> Result<Result<Option<Marker>, &'static str>, Problem> {
    match read(root, home) {
        Err(Problem::Newer { .. }) => {
            rustix::fs::fremovexattr(root, XATTR).map_err(Problem::own("remove the marker of a newer version"))?;
            Ok(Ok(None))
        }
        read => read,
    }
}

/// The marker of a copy, which another process may own; none when it was never synced.
///
/// # Errors
/// It is damaged, of a newer version, or cannot be read.
pub fn read_marker(root: &Root) -> Result<Option<Marker>, CopyError> {
    let own = || super::read_file(root, b".treesync/marker", MOST_BYTES);
    let read = read_or(root, own).and_then(|read| read.map_err(|reason| Problem::NeedsManifest(reason.to_owned())));
    read.map_err(|problem| CopyError { copy: root.path().to_owned(), problem })
}

fn read_or(root: &Root, own: impl FnOnce() -> Result<Option<Vec<u8>>, Problem>) -> Result<Result<Option<Marker>, &'static str>, Problem> {
    let mut buffer = [0; 256];
    let bytes = match rustix::fs::fgetxattr(root, XATTR, &mut buffer[..]) {
        Ok(length) => Some(buffer[..length].to_vec()),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => own()?,
        Err(Errno::RANGE) => return Ok(Err("its marker is damaged")),
        Err(error) => return Err(Problem::Own { action: "read the marker", error: error.into() }),
    };
    match bytes.map(|bytes| Marker::decode(&bytes)).transpose() {
        Ok(marker) => Ok(Ok(marker)),
        Err(MarkerError::Damaged) => Ok(Err("its marker is damaged")),
        Err(MarkerError::Newer(found)) => Err(Problem::Newer { what: "marker", found, known: VERSION }),
    }
}

/// Whether the marker is a file in the hidden directory.
pub(in crate::apply) fn is_a_file(root: &Root) -> bool {
    rustix::fs::fgetxattr(root, XATTR, &mut [0; 256][..]).is_err()
}

/// Replaces the marker. Where the kernel refuses `trusted.` attributes it is a file in the hidden directory.
pub(in crate::apply) fn write(root: &Root, home: &Home, marker: &Marker) -> Result<(), Problem> {
    let bytes = marker.encode();
    match rustix::fs::fsetxattr(root, XATTR, &bytes, XattrFlags::empty()) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::PERM) => home.replace("marker", &bytes),
        Err(error) => Err(Problem::Own { action: "write the marker", error: error.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(state: MarkerState) -> Marker {
        Marker { position: Position { source: SourceId([7; 16]), epoch: 2, generation: u64::MAX }, structure: 9, state }
    }

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        for state in [MarkerState::Clean, MarkerState::Applying { intent: 0xdead_beef }, MarkerState::Repairing] {
            assert_eq!(Marker::decode(&marker(state).encode()), Ok(marker(state)));
        }
    }

    #[test]
    fn any_flipped_bit_or_missing_byte_is_noticed() {
        let bytes = marker(MarkerState::Clean).encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Marker::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Marker::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_newer_version_is_said_to_be_newer() {
        let mut bytes = vec![9, 1, 2, 3];
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        assert_eq!(Marker::decode(&bytes), Err(MarkerError::Newer(9)));
    }
}
