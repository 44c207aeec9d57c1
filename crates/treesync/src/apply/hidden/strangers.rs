//! What others have put into the hidden directory: whoever is root can write there, and no comparison looks.

use super::super::error::Problem;
use super::{Home, trash};
use crate::index::{NAMES as OF_AN_INDEX, remains};
use crate::tree::Root;

/// Where a copy has what it needs while nothing is under way. What is in them is removed with the trash.
const OF_A_COPY: [&str; 2] = ["stage", "trash"];
/// Where it has its marker, on filesystems that refuse `trusted.` attributes.
const MARKER: &str = "marker";

impl Home {
    /// Moves everything to the trash that a copy which is at rest does not need: names that it uses at other times as well.
    /// An index stays where it is that of a source. `root` is the copy.
    pub(in crate::apply) fn throw_out_strangers(&self, root: &Root, has_marker_file: bool) -> Result<(), Problem> {
        let is_source = matches!(remains(root), Ok(Some(_)) | Err(_));
        let is_ours = |name: &[u8]| {
            let is = |own: &&str| own.as_bytes() == name;
            OF_A_COPY.iter().any(&is) || has_marker_file && is(&MARKER) || is_source && OF_AN_INDEX.iter().any(is)
        };
        for name in trash::names(&self.own).map_err(Problem::own("list .treesync"))? {
            if !is_ours(&name) {
                self.take_away(&self.own, &name).map_err(Problem::own("move what is not ours out of .treesync"))?;
            }
        }
        Ok(())
    }
}
