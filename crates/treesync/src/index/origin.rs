//! Which source this is, in a small file beside the index: it outlives an index that is damaged, so that a rebuilt
//! index is the same source in a later epoch.

use super::IndexError;
use super::folder::Folder;
use crate::model::SourceId;

pub(super) const ORIGIN_FILE: &str = "origin.json";
pub(super) const NEXT_ORIGIN_FILE: &str = "origin.new";

/// The identity of a source and the last epoch that it had.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// 16 bytes, hexadecimal.
    source: String,
    /// The epoch of the index, or the last one.
    pub epoch: u64,
    /// What the caller calls the volume, if it does: another one means that this is a clone.
    pub volume: Option<String>,
}

impl Origin {
    /// A source.
    pub fn new(source: SourceId, epoch: u64, volume: Option<String>) -> Self {
        // The text of a UUID without its dashes.
        Self { source: source.to_string().replace('-', ""), epoch, volume }
    }

    /// Its identity; none when the file held something else.
    pub fn source(&self) -> Option<SourceId> {
        if self.source.len() != 32 || !self.source.is_ascii() {
            return None;
        }
        let mut id = [0; 16];
        for (at, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&self.source[at * 2..at * 2 + 2], 16).ok()?;
        }
        Some(SourceId(id))
    }

    /// Reads the file. None: it is not there, or not one of ours.
    pub(super) fn read(folder: &Folder) -> Result<Option<Self>, IndexError> {
        let bytes = folder.read(ORIGIN_FILE)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok()).filter(|origin| origin.source().is_some()))
    }

    /// Writes the file; durable when it returns. A crash leaves the old or the new one.
    pub(super) fn write(&self, folder: &Folder) -> Result<(), IndexError> {
        let bytes = serde_json::to_vec(self).map_err(|error| IndexError::io(&folder.path_of(ORIGIN_FILE), "write", error))?;
        folder.replace(ORIGIN_FILE, NEXT_ORIGIN_FILE, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Root;

    #[test]
    fn an_origin_is_read_as_it_was_written_and_nonsense_is_none() {
        let source = tempfile::tempdir().expect("a folder");
        let folder = Folder::make(&Root::open(source.path()).expect("its descriptor")).expect("the hidden directory");
        assert_eq!(Origin::read(&folder).expect("reads"), None);
        let origin = Origin::new(SourceId([0xa5; 16]), 7, Some("vol-1".to_owned()));
        origin.write(&folder).expect("writes");
        assert_eq!(Origin::read(&folder).expect("reads"), Some(origin.clone()));
        assert_eq!(origin.source(), Some(SourceId([0xa5; 16])));
        for nonsense in
            ["", "{}", r#"{"source":"xyz","epoch":1,"volume":null}"#, r#"{"source":"ääääääääääääääää","epoch":1,"volume":null}"#]
        {
            std::fs::write(folder.path_of(ORIGIN_FILE), nonsense).expect("writes");
            assert_eq!(Origin::read(&folder).expect("reads"), None, "{nonsense}");
        }
    }
}
