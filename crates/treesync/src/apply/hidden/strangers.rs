//! What others have put into the hidden directory: whoever is root can write there, and no comparison looks.

use super::super::error::Problem;
use super::{Home, trash};
use crate::index::NAMES as OF_THE_INDEX;

/// Names that a copy makes there, and for a moment beside them with `.next`.
const OF_A_COPY: [&str; 5] = ["stage", "trash", "intent", "clone", "marker"];

impl Home {
    /// Moves everything to the trash that neither a copy nor a source makes.
    pub(in crate::apply) fn throw_out_strangers(&self) -> Result<(), Problem> {
        for name in trash::names(&self.own).map_err(Problem::own("list .treesync"))? {
            if !is_ours(&name) {
                self.take_away(&self.own, &name).map_err(Problem::own("move what is not ours out of .treesync"))?;
            }
        }
        Ok(())
    }
}

fn is_ours(name: &[u8]) -> bool {
    let base = name.strip_suffix(b".next").unwrap_or(name);
    OF_A_COPY.iter().any(|own| own.as_bytes() == base) || OF_THE_INDEX.iter().any(|own| own.as_bytes() == name)
}
