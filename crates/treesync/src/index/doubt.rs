//! What was told and may have been lost with the power of the host: a scan has to read it whatever its ctime says.

use super::IndexError;
use super::row::{Row, Stamp};
use super::tables::Writable;
use crate::model::Mtime;

impl Writable<'_> {
    /// Rows of files whose content is of after a generation forget the ctime that it had.
    pub fn doubt_content_after(&mut self, generation: u64) -> Result<(), IndexError> {
        for place in self.places_after(generation)? {
            let row = self.row(&place)?.filter(|row| row.content_generation > generation && row.entry.file().is_some());
            let Some(old) = row else { continue };
            let stamp = Stamp { ctime: Mtime::default(), ..old.stamp };
            self.replace_row(&place, Some(&old), &Row { stamp, ..old.clone() })?;
        }
        Ok(())
    }
}
